# frozen_string_literal: true

require "json"
require "tmpdir"
require "uri"

module BerryMQ
  # Finds the hub of this user by its connection file, which is trusted only where no other user could have written it.
  # @api private
  module Discovery
    Found = Struct.new(:uri, :token) do
      # @return [Boolean] whether it is behind a Jupyter server, which requires its own token first
      def jupyter? = uri.path.end_with?("/berrymq/")
      def secure? = uri.scheme == "https"
      def loopback? = %w[localhost 127.0.0.1 ::1].include?(uri.hostname)

      # @return [String] without secrets
      def url = uri.to_s
      def websocket = uri.dup.tap { |one| one.path += "ws" }
      def inspect = "#<node at #{url}>"
    end

    MAX_BYTES = 64 * 1024
    START_SECONDS = 20
    VARIABLE = "BERRYMQ_RUNTIME_DIR"
    SCHEMES = { "http" => "http", "ws" => "http", "https" => "https", "wss" => "https" }.freeze

    module_function

    # @return [Found] the node at a URL, else the one that the environment names, else the hub of this user, which is
    #   started if there is none and `berrymq` is installed
    # @raise [LinkError]
    def find(url, token)
      url, token = ENV.fetch("BERRYMQ_HUB_URL"), ENV.fetch("BERRYMQ_HUB_TOKEN", nil) if url.nil? && hub_in_environment?
      return Found.new(parse(url), token.to_s.strip) if url

      begin
        hub
      rescue NoHubError
        raise unless start

        hub
      end
    end

    def hub_in_environment? = !ENV.fetch("BERRYMQ_HUB_URL", "").empty?

    # Start the hub by the command line, if that is installed.
    # @return [Boolean] whether it runs now
    def start
      program = ENV.fetch("PATH", "").split(File::PATH_SEPARATOR).map { |path| File.join(path, "berrymq") }
                   .find { |path| File.file?(path) && File.executable?(path) }
      return false unless program

      pid = Process.spawn(program, "hub", "--detached", in: File::NULL, out: File::NULL, err: File::NULL)
      Process.detach(pid).join(START_SECONDS)&.value&.success? || false
    rescue SystemCallError
      false
    end

    # Read a URL; its query and a last `ws` or `rpc` are cut off. No error repeats it, for people paste secrets.
    def parse(url)
      uri = URI.parse(url.to_s.strip)
      scheme = SCHEMES[uri.scheme.to_s.downcase]
      raise LinkError, "the URL of a node begins with http, https, ws or wss" unless scheme && uri.host
      raise LinkError, "a URL with a user or password is refused; pass the access token as token:" if uri.userinfo

      path = uri.path.to_s.sub(%r{/(?:ws|rpc|JSON)/?\z}, "/")
      path += "/" unless path.end_with?("/")
      kind = scheme == "https" ? URI::HTTPS : URI::HTTP
      kind.build(host: uri.host.downcase, port: uri.port || kind.default_port, path:)
    rescue URI::Error
      raise LinkError, "that is no URL; write one as \"http://localhost:8137/\""
    end

    # @return [String] the directory of the connection files
    def directory
      given = ENV.fetch(VARIABLE, "")
      unless given.empty?
        raise PermissionsError, "#{VARIABLE} must be an absolute path" unless given.start_with?("/")

        return given
      end
      base = ENV.fetch("XDG_RUNTIME_DIR", "")
      return File.join(base, "berrymq") unless base.empty?
      return File.expand_path("~/Library/Caches/TemporaryItems/berrymq") if RUBY_PLATFORM.include?("darwin")

      user = "/run/user/#{Process.uid}"
      File.writable?(user) ? "#{user}/berrymq" : "/tmp/runtime-#{Process.uid}/berrymq"
    end

    # @return [Found] the hub of this user
    # @raise [NoHubError] none runs
    # @raise [PermissionsError] others could have written its file
    def hub
      path = File.join(check_directory(directory), "hub.json")
      flags = File::RDONLY | File::NOFOLLOW | File::NONBLOCK
      File.open(path, flags) do |file|
        check_file(path, file.stat)
        raise_no_hub unless locked?(file)
        info = JSON.parse(file.read(MAX_BYTES).to_s)
        url, token = info.values_at("url", "access_token") if info.is_a?(Hash)
        raise LinkError, "#{path} is no connection file" unless url.is_a?(String) && token.is_a?(String)

        Found.new(parse(url), token)
      end
    rescue Errno::ENOENT
      raise_no_hub
    rescue Errno::ELOOP
      raise PermissionsError, "#{path} is a symbolic link, which is not followed"
    rescue JSON::ParserError
      raise LinkError, "#{path} is no connection file"
    rescue SystemCallError => e
      raise PermissionsError, "can't read #{path}: #{e.message}"
    end

    def raise_no_hub
      raise NoHubError, "no hub of yours runs on this machine; start one by `berrymq hub`, or by %link in a notebook"
    end

    # A file that is not locked belongs to a hub that has ended; another program may have its port now.
    def locked?(file)
      return true unless file.flock(File::LOCK_SH | File::LOCK_NB)

      file.flock(File::LOCK_UN)
      false
    end

    def check_file(path, stat)
      if stat.uid != Process.euid
        raise PermissionsError, "#{path} belongs to another user"
      elsif !stat.file?
        raise PermissionsError, "#{path} is not a regular file"
      elsif (stat.mode & 0o077).positive?
        raise PermissionsError, format("%<path>s is open to other users (mode %<mode>04o): chmod 600 closes it",
                                       path:, mode: stat.mode & 0o7777)
      end
    end

    # Each directory on the way is this user's or root's, and no other user can replace what is in it.
    def check_directory(path)
      real = File.realpath(path)
      raise PermissionsError, "#{path} is a symbolic link" if File.symlink?(path)

      parts = real.split("/")
      (1...parts.size).each do |count|
        parent = parts.take(count).join("/").then { |text| text.empty? ? "/" : text }
        check_parent(parent, File.stat(parent), path)
      end
      stat = File.stat(real)
      raise PermissionsError, "#{path} belongs to another user" unless stat.uid == Process.euid
      return real if (stat.mode & 0o077).zero?

      raise PermissionsError, format("%<path>s is open to other users (mode %<mode>04o): chmod 700 closes it",
                                     path:, mode: stat.mode & 0o7777)
    end

    def check_parent(parent, stat, path)
      unless [0, Process.euid].include?(stat.uid)
        raise PermissionsError, "#{parent}, above #{path}, belongs to another user"
      end
      return if (stat.mode & 0o022).zero? || stat.sticky?

      raise PermissionsError, "#{parent}, above #{path}, can be written by other users: chmod go-w closes it"
    end
  end
end
