# frozen_string_literal: true

module BerryMQ
  # An array as numpy has it: numbers of one type in any number of dimensions.
  #
  #   array.shape            # => [2, 3]
  #   array.to_a             # => [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
  #   array.each.sum
  class NDArray
    include Enumerable

    MAX_DIMENSIONS = 64
    # How `String#unpack` calls the numbers, by kind and size; `<` or `>` follows.
    DIRECTIVES = { "i1" => "c", "u1" => "C", "b1" => "C", "i2" => "s", "u2" => "S", "i4" => "l", "u4" => "L",
                   "i8" => "q", "u8" => "Q", "f4" => "e", "f8" => "E" }.freeze
    BIG_ENDIAN = { "e" => "g", "E" => "G" }.freeze
    UNITS = { "s" => 1, "ms" => 1_000, "us" => 1_000_000, "ns" => 1_000_000_000 }.freeze
    private_constant :DIRECTIVES, :BIG_ENDIAN, :UNITS

    # @return [String, Hash] as numpy writes it, such as `"<f8"`
    attr_reader :dtype
    # @return [Array<Integer>]
    attr_reader :shape
    # @return [String] `"C"` where the last index varies fastest, `"F"` where the first does
    attr_reader :order
    # @return [String] the memory, as binary text
    attr_reader :bytes

    # @param values [Array] nested as the dimensions
    # @param dtype [String] of integers or floats
    # @return [NDArray]
    def self.from(values, dtype: "<f8")
      shape = []
      level = values
      while level.is_a?(Array)
        shape << level.size
        level = level.first
      end
      flat = values.flatten
      raise ArgumentError, "the rows of an array have one length" unless flat.size == shape.reduce(1, :*)

      new(dtype, shape, flat.pack("#{directive(dtype)}*"))
    end

    # @raise [ArgumentError] the bytes are not as many as type and shape make up
    def initialize(dtype, shape, bytes, order: "C")
      raise ArgumentError, "the order of an array is C or F" unless %w[C F].include?(order)
      unless shape.is_a?(Array) && shape.size <= MAX_DIMENSIONS && shape.all? { |n| n.is_a?(Integer) && n >= 0 }
        raise ArgumentError, "a shape is some numbers"
      end

      @dtype = dtype
      @shape = shape.dup.freeze
      @order = order
      @bytes = bytes.encoding == Encoding::BINARY && bytes.frozen? ? bytes : bytes.b.freeze
      return if item_size * size == @bytes.bytesize

      raise ArgumentError, "#{shape.inspect} of #{dtype} takes #{item_size * size} bytes, not #{@bytes.bytesize}"
    end

    # @return [Integer] how many numbers there are
    def size = shape.reduce(1, :*)

    # @return [Integer] the bytes of one
    def item_size
      size = dtype.is_a?(Hash) ? dtype["size"] : dtype[/\A[<>|=][a-zA-Z](\d+)/, 1]&.to_i
      raise ArgumentError, "the type #{dtype.inspect} is unknown" unless size.is_a?(Integer) && size.between?(0, 2**31)

      dtype.is_a?(String) && dtype[1] == "U" ? size * 4 : size
    end

    # @return [Array] the numbers in the order of the last index, whatever the order of the memory
    def flat
      values = unpacked
      return values if order == "C" || shape.size < 2

      strides = shape.each_index.map { |axis| shape.take(axis).reduce(1, :*) }
      indices(shape).map { |index| values[index.zip(strides).sum { |at, stride| at * stride }] }
    end

    # @return [Array] nested as the dimensions; of an array without dimensions the value
    def to_a
      return flat.first if shape.empty?
      return shape.include?(0) ? nest_empty(shape) : flat if shape.size == 1 || shape.include?(0)

      shape.drop(1).reverse.reduce(flat) { |values, count| values.each_slice(count).to_a }
    end

    # Yield each number, in the order of {#flat}.
    def each(&block)
      return enum_for(:each) { size } unless block

      flat.each(&block)
      self
    end

    def ==(other)
      other.is_a?(NDArray) && dtype == other.dtype && shape == other.shape && order == other.order &&
        bytes == other.bytes
    end

    def inspect = "#<BerryMQ::NDArray #{dtype} #{shape.inspect}>"
    alias to_s inspect

    # @api private
    def self.directive(dtype)
      base = DIRECTIVES[dtype[1..]] or raise ArgumentError, "numbers of the type #{dtype.inspect} can't be read"
      return base if dtype[2..] == "1"
      return dtype[0] == ">" ? BIG_ENDIAN[base] : base if base.match?(/e/i)

      base + (dtype[0] == ">" ? ">" : "<")
    end

    private

    def unpacked
      raise ArgumentError, "records can't be read as numbers; see #bytes" unless dtype.is_a?(String)

      kind = dtype[1]
      little = dtype[0] != ">"
      case kind
      when "b" then bytes.unpack("C*").map { |byte| !byte.zero? }
      when "c" then complexes(little)
      when "U" then texts(little)
      when "S", "V" then pieces.map { |piece| kind == "S" ? piece.sub(/\0+\z/n, "") : piece }
      when "M", "m" then times(little)
      when "f" then item_size == 2 ? halves(little) : bytes.unpack("#{self.class.directive(dtype)}*")
      else bytes.unpack("#{self.class.directive(dtype)}*")
      end
    end

    def pieces
      return [] if size.zero? || item_size.zero?

      Array.new(size) { |at| bytes.byteslice(at * item_size, item_size) }
    end

    def complexes(little)
      letter = item_size == 16 ? (little ? "E" : "G") : (little ? "e" : "g")
      bytes.unpack("#{letter}*").each_slice(2).map { |real, imaginary| Complex(real, imaginary) }
    end

    def texts(little)
      pieces.map do |piece|
        piece.force_encoding(little ? Encoding::UTF_32LE : Encoding::UTF_32BE)
             .encode(Encoding::UTF_8, invalid: :replace, undef: :replace).delete_suffix("\0").sub(/\0+\z/, "")
      end
    end

    # Times as {Time} in UTC, where the unit is one of seconds or less; time differences as seconds.
    def times(little)
      numbers = bytes.unpack(little ? "q<*" : "q>*")
      count, unit = dtype.match(/\[(\d*)(\w+)\]/)&.captures
      per_second = UNITS[unit]
      scale = [count.to_i, 1].max
      nothing = -(2**63)
      numbers.map do |number|
        next if number == nothing

        if per_second
          seconds = Rational(number * scale, per_second)
          dtype[1] == "M" ? Time.at(seconds, in: "UTC") : seconds
        elsif unit == "D" && dtype[1] == "M"
          Date.new(1970, 1, 1) + (number * scale)
        else
          number
        end
      end
    end

    def halves(little)
      bytes.unpack(little ? "S<*" : "S>*").map do |half|
        sign = half[15] == 1 ? -1.0 : 1.0
        exponent = (half >> 10) & 31
        fraction = half & 1023
        case exponent
        when 0 then sign * fraction * 2.0**-24
        when 31 then fraction.zero? ? sign * Float::INFINITY : Float::NAN
        else sign * (1024 + fraction) * 2.0**(exponent - 25)
        end
      end
    end

    def indices(shape)
      first, *rest = shape.map { |count| (0...count).to_a }
      first.product(*rest)
    end

    def nest_empty(shape)
      shape.size == 1 ? [] : Array.new(shape.first) { nest_empty(shape.drop(1)) }
    end
  end
end
