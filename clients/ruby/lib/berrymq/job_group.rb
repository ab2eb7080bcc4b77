# frozen_string_literal: true

require "monitor"

module BerryMQ
  # The shared queues of one identifier on one bus, as a member of their group at the hub. Without a link it is the
  # whole group. See "Shared queues" in WIRE.md.
  #
  # Its lock is taken before that of the link, never the other way round.
  # @api private
  class JobGroup
    OVERFLOW = "drop_oldest"
    MAX_RANGES = 4096
    ANSWER_SECONDS = 1.0
    RECENT_SECONDS = 2.0
    MAX_RECENT = 10_000

    # A message, and its number in the group; without one it was sent here and never was at the hub.
    Job = Struct.new(:message, :number)

    # How many jobs to prefetch: as many as the consumers do in one tick, and at first none, for a job that is here can't
    # be taken by an idle consumer elsewhere.
    class Pace
      TICK = 0.02
      MAX_AHEAD = 2_000

      def initialize
        @since = {}
        stall
      end

      # Forget the estimate.
      def stall
        @since.clear
        @done = 0
        @seconds = nil
      end

      # This thread begins a job.
      def start = @since[Thread.current] = Clock.now

      # This thread has done its job, if it had one.
      def finish
        since = @since.delete(Thread.current) or return
        seconds = Clock.now - since
        @done += 1
        @seconds = @seconds ? (0.8 * @seconds) + (0.2 * seconds) : seconds
      end

      def ahead
        return 0 unless @seconds

        [MAX_AHEAD, (2 * @done) - 2, ([@since.size, 1].max * TICK / [@seconds, 1e-6].max).to_i].min
      end
    end
    private_constant :Pace

    attr_reader :identifier, :dropped

    def initialize(bus, identifier, maxsize)
      @bus = bus
      @identifier = identifier
      @maxsize = maxsize
      @lock = Monitor.new
      @changed = @lock.new_cond
      @jobs = []
      @queues = []
      @recent = []
      @taken = []
      @returned = []
      @dropped = 0
      @waiting = @question = @answered = @returning = @fetching = @took = 0
      @last_returned = 0
      @reported = [0, 0]
      @pace = Pace.new
      @state = []
      @link = @refused = nil
      @joined = @paused = @stored = false
      @expired = []
    end

    # Add a queue.
    # @raise [LinkError] the hub refuses it
    def enter(queue)
      first = @lock.synchronize { @queues.push(queue).size == 1 }
      return unless first

      @subscription = @bus.add(Subscription.new(@bus, identifier, self, kind: :group))
      @bus.current_link&.join(self)
      deadline = Clock.now + ANSWER_SECONDS
      @lock.synchronize do
        wait_until(deadline) { @joined || @refused || @link.nil? || @paused }
        return unless @refused
      end
      queue.close
      raise LinkError, "the hub refuses this shared queue: #{@refused}"
    end

    def leave(queue)
      last = @lock.synchronize do
        @queues.delete(queue)
        @changed.broadcast
        @queues.empty?
      end
      return unless last

      @subscription&.cancel
      @bus.remove_group(self)
      @lock.synchronize do
        put_own_jobs
        control("leave", taken: ranges(@taken))
        @link = nil
      end
    end

    def link? = @lock.synchronize { !@link.nil? }

    # Take a message that was sent here. With a link it is at the hub already, or goes there now.
    def call(message)
      @lock.synchronize do
        if @link
          put(message) unless message.number
        else
          @jobs.push(Job.new(message, nil))
          drop_oldest
        end
        @changed.signal
      end
    end

    def pop(timeout)
      deadline = timeout && (Clock.now + timeout)
      @lock.synchronize do
        @pace.finish
        fetch if timeout&.zero?
        loop do
          return if yield

          if (job = take)
            @pace.start
            return job.message
          end

          left = deadline && (deadline - Clock.now)
          return if left && left <= 0

          wait(left)
        end
      end
    end

    def size
      @lock.synchronize do
        ask if @link
        own = @jobs.count { |job| job.number.nil? }
        @link ? own + @state[0].to_i + @state[1].to_i : own
      end
    end

    # -- for the link ----------------------------------------------------------------------------------------------

    # Become a member at a hub, on a link that was not resumed.
    # @param keeps [Boolean] it is another hub than before, which knows nothing of the jobs held here; on NATS, others
    #   get them nevertheless
    # @param late [Boolean] unless it has joined, or was left, by now
    def join(link, keeps: false, late: false)
      @lock.synchronize do
        return if late && (@link || @queues.empty? || link.closed?)

        keeps &&= !@stored
        had = keeps ? recent : []
        @jobs.each { |job| job.number = nil } if keeps
        @jobs.reject!(&:number)
        held = keeps ? @jobs.slice!(0..) : []
        @taken.clear
        @returned.clear
        @link = link
        @joined = @paused = false
        @reported = [0, 0]
        @returning = 0
        control("join", maxsize: @maxsize || 0, overflow: OVERFLOW, had:)
        put_own_jobs
        @jobs = held
        report if @waiting.positive?
        @changed.broadcast
      end
    end

    # The connection is cut: others may get the jobs held here.
    def pause
      @lock.synchronize { @paused = true if @link }
    end

    def resume
      @lock.synchronize do
        @paused = false
        @changed.broadcast
        report
      end
    end

    # The link ends; what came over it returns to the others.
    def unlink
      @lock.synchronize do
        control("leave", taken: ranges(@taken)) unless @paused
        @link = nil
        @jobs.select! { |job| job.number.nil? }
        @joined = @paused = false
        @changed.broadcast
      end
    end

    # @param jobs [Array<Array(Integer, Message)>]
    def receive(jobs)
      @lock.synchronize do
        now = Clock.now
        jobs = jobs.reject { |number, _| @expired.any? { |ranges| in?(ranges, number) } }
        jobs.each do |number, message|
          @jobs.push(Job.new(message, number))
          @recent.push([now, message.origin, message.number])
        end
        @recent.shift while @recent.size > MAX_RECENT || (@recent.any? && @recent[0][0] < now - RECENT_SECONDS)
        late = @answered < @returning ? jobs.count { |number, _| number > @last_returned } : 0
        late.positive? ? return_surplus(late) : return_surplus
        @changed.broadcast
      end
    end

    # Forget jobs that were not taken, for the hub was cut from NATS, and others may get them; and, until {#expired},
    # those of them whose buffers are still to come.
    # @param ranges [Array<Array(Integer, Integer)>]
    def expire(ranges)
      @lock.synchronize do
        @expired << ranges
        @jobs.reject! { |job| job.number && in?(ranges, job.number) }
      end
    end

    def expired = @lock.synchronize { @expired.shift }

    # @param params [Hash] of a `group` frame
    def update(params)
      @lock.synchronize do
        if params["refused"]
          @refused = params["refused"].to_s
          BerryMQ.logger.warn("the hub refuses the shared queue of #{identifier}: #{@refused}") unless @joined
          @link = nil
        else
          @joined = true
          @stored = params["stored"] == true
          @state = params["state"] if params["state"].is_a?(Array)
          @dropped = [@dropped, @state[3].to_i].max
        end
        @answered = [@answered, params["question"].to_i].max
        @changed.broadcast
      end
    end

    private

    def in?(ranges, number) = ranges.any? { |first, count| number >= first && number < first + count }

    def take
      index = @paused ? @jobs.index { |job| job.number.nil? } : 0
      job = index && @jobs.delete_at(index)
      if job&.number
        @taken.push(job.number)
        @took += 1
        report if @taken.size > @reported[1] / 10
      end
      job
    end

    def wait(left)
      @waiting += 1
      report
      @changed.wait(left)
    ensure
      @waiting -= 1
      report if @jobs.empty?
    end

    # Fetch one of the jobs that wait at the hub, without a consumer that waits here.
    def fetch
      return if @link.nil? || @paused || @jobs.any?

      begin
        @fetching += 1
        ask(1)
      ensure
        @fetching -= 1
      end
    end

    def ask(now = 0)
      question = (@question += 1)
      report(question:, now:)
      wait_until(Clock.now + ANSWER_SECONDS) { @answered >= question || @paused || @link.nil? }
    end

    def wait_until(deadline)
      until yield
        left = deadline - Clock.now
        break if left <= 0

        @changed.wait(left)
      end
    end

    # Report the credit, and what was taken and is returned, where it has changed or there is a question.
    def report(**question)
      return if @link.nil? || @paused

      credit = [@waiting, @pace.ahead]
      return if question.empty? && credit == @reported && @taken.empty? && @returned.empty?

      @reported = credit
      @ticking ||= Thread.new { tick } if credit[1].positive?
      control("want", waiting: credit[0], ahead: credit[1], taken: ranges(@taken), returned: ranges(@returned),
                      **question)
    end

    # Adapt what is prefetched, while jobs are taken. If none was for two ticks, the consumers are busy with something
    # long: what was prefetched goes back, for others may be idle.
    def tick
      idle = 0
      while idle < 2
        sleep Pace::TICK
        @lock.synchronize do
          next if @paused

          idle = @took.zero? ? idle + 1 : 0
          @took = 0
          if idle == 2
            @pace.stall
            @ticking = nil
          end
          report
          return_surplus if idle == 2
        end
      end
    end

    # Return the last jobs: by default those for which there is no credit, such as those that arrived after their
    # consumers had timed out. Later jobs that arrive until the hub knows of it are returned as well, for they would be
    # taken before them.
    def return_surplus(surplus = @jobs.count(&:number) - @waiting - @fetching - @reported[1])
      return unless surplus.positive?

      @returned.concat(numbers = @jobs.pop(surplus).filter_map(&:number))
      @last_returned = numbers.max || 0
      @returning = (@question += 1)
      report(question: @returning)
    end

    def put_own_jobs
      @jobs.select { |job| job.number.nil? }.each { |job| put(job.message) } if @link
      @jobs.select!(&:number) if @link
    end

    def put(message)
      @link.put(identifier.text, message)
    end

    def control(method, **params)
      @link&.control(method, { group: identifier.text, **params })
    end

    def drop_oldest
      return unless @maxsize && @jobs.size > @maxsize

      @jobs.shift
      @dropped += 1
    end

    def recent
      since = Clock.now - RECENT_SECONDS
      @recent.select { |at, _, number| at >= since && number }
             .slice_when { |one, two| one[1] != two[1] || two[2] != one[2] + 1 }
             .map { |run| [run[0][1], run[0][2], run.size] }
    end

    # @return [Array<Array(Integer, Integer)>] the numbers, which are removed, as ranges
    def ranges(numbers)
      all = numbers.slice!(0..).sort.slice_when { |one, two| two != one + 1 }.map { |run| [run.first, run.size] }
      numbers.concat(all.drop(MAX_RANGES).flat_map { |first, count| (first...(first + count)).to_a })
      all.take(MAX_RANGES)
    end
  end

  class Link
    # The part of a link that serves groups of shared queues.
    # @api private
    module Groups
      # Put a message into a group of shared queues, and into no other queue.
      def put(group, message)
        send_message(message, "put", group:)
      end

      # Join a group, or wait until that is answered, and go on to try it. What a former membership was still sent is not
      # for this one: until its `leave` is acknowledged, the hub does not know which it is.
      def join(group)
        return unless @hub

        joining = Thread.new do
          wait_until(nil) { closed? || (@state == :linked && !leaving?(group)) }
          group.join(self, late: true)
        end
        joining.join(JobGroup::ANSWER_SECONDS)
      end

      private

      def leaving?(group) = @outbox.pending?("leave", JSON.generate({ group: group.identifier.text })[1..-2])

      def group?(message)
        message.identifier.crosses? &&
          @bus.groups.any? { |group| group.link? && group.identifier.match?(message.identifier) }
      end

      def take_jobs(params)
        jobs = params.fetch("jobs").each { |number, batch| Integer(number) && Wire.check(batch) }
        @buffers.in_order([:group, params["group"]], params) do |buffers|
          found = jobs.flat_map { |first, batch| Wire.read(batch, buffers).map.with_index(first) { |one, n| [n, one] } }
          group_of(params)&.receive(found)
        end
      end

      def take_group(params)
        group = group_of(params) or return
        group.update(params)
        return unless (expired = params["expired"])&.any?

        group.expire(expired.each { |first, count| Integer(first) && Integer(count) })
        @buffers.in_order([:group, params["group"]]) { group.expired }
      end

      def group_of(params)
        @bus.groups.find { |group| group.identifier.text == params["group"] && group.link? }
      end
    end
  end
end
