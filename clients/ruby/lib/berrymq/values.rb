# frozen_string_literal: true

require "date"
require "json"
require "pathname"
require "set"
require "time"

module BerryMQ
  # A value of a type that Ruby lacks, such as a UUID: `type` as WIRE.md names it, and `value` as JSON has it. What is
  # received as one can be sent again, and arrives as it was.
  Tagged = Struct.new(:type, :value) do
    def to_s = value.is_a?(String) ? value : inspect
  end

  # What had no form where it was sent: the name of its type, and how it looked.
  Opaque = Struct.new(:type, :text) do
    def to_s = text
  end

  # A time without a time zone, as Python's usual `datetime`: read as local time, and sent without a zone again.
  class NaiveTime < ::Time; end

  # An Array that is sent as a tuple, and arrives as one in Python.
  class Tuple < ::Array; end

  # Values as the wire has them, and back. See "Identifiers and payloads" in WIRE.md.
  # @api private
  module Values
    MAX_DEPTH = 128
    SMALL = 64 * 1024
    MAX_PAYLOAD = 16 * 1024 * 1024
    NUMBERS = %w[bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 str]
              .to_h { |name| ["numpy.#{name}", true] }.freeze
    UNITS = { "s" => 1, "ms" => 1_000, "us" => 1_000_000, "ns" => 1_000_000_000 }.freeze

    # Turns values into what JSON has; collects large buffers beside it.
    class Encoder
      # @return [Array<String>]
      attr_reader :buffers

      def initialize
        @buffers = []
      end

      # @raise [PayloadError]
      def encode(value, depth = 0)
        raise PayloadError, "a message is nested at most #{MAX_DEPTH} deep" if depth > MAX_DEPTH

        case value
        when nil, true, false, Integer then value
        when Float then value.finite? ? value : tag("float", value.nan? ? "nan" : value.positive? ? "inf" : "-inf")
        when String then text(value)
        when Symbol then text(value.to_s)
        when Tuple then tag("tuple", value.map { |item| encode(item, depth + 2) })
        when Array then value.map { |item| encode(item, depth + 1) }
        when Hash then object(value, depth)
        else other(value, depth)
        end
      end

      private

      def tag(type, value) = { "$type" => type, "value" => value }

      def text(value)
        return tag("bytes", buffer(value)) if value.encoding == Encoding::BINARY

        utf8 = value.encode(Encoding::UTF_8)
        utf8.valid_encoding? ? utf8 : tag("bytes", buffer(value.b))
      rescue EncodingError
        tag("bytes", buffer(value.b))
      end

      def buffer(bytes)
        return tag("buffer", [bytes].pack("m0")) if bytes.bytesize < SMALL

        @buffers << bytes
        tag("buffer", @buffers.size - 1)
      end

      def object(hash, depth)
        keys = hash.keys
        if keys.all? { |key| (key.is_a?(String) && key.encoding != Encoding::BINARY) || key.is_a?(Symbol) } &&
           keys.none? { |key| key.to_s == "$type" }
          return hash.to_h { |key, item| [text(key.to_s), encode(item, depth + 1)] }
        end
        tag("dict", hash.map { |key, item| [encode(key, depth + 2), encode(item, depth + 2)] })
      end

      def other(value, depth)
        case value
        when Tagged then { "$type" => value.type, "value" => value.value }
        when Opaque then tag("Opaque", [value.type, value.text])
        when NDArray
          tag("array", { "dtype" => value.dtype, "shape" => value.shape, "order" => value.order,
                         "data" => buffer(value.bytes) })
        when NaiveTime then tag("datetime", value.strftime(value.nsec.zero? ? "%FT%T" : "%FT%T.%6N"))
        when ::Time then tag("datetime", value.strftime(value.nsec.zero? ? "%FT%T%:z" : "%FT%T.%6N%:z"))
        when DateTime then encode(value.to_time, depth)
        when Date then tag("date", value.iso8601)
        when Set then tag(value.frozen? ? "frozenset" : "set", value.map { |item| encode(item, depth + 2) })
        when Complex then tag("complex", [encode(value.real.to_f), encode(value.imaginary.to_f)])
        when Pathname then tag("Path", text(value.to_s))
        when RemoteError then tag("RemoteError", [value.remote_class, value.text, value.notes])
        when Exception then tag("RemoteError", [value.class.name.to_s, text(value.message), where(value)])
        when Struct then object(value.to_h, depth)
        else
          return tag("Decimal", value.to_s("F")) if defined?(::BigDecimal) && value.is_a?(::BigDecimal) && value.finite?

          opaque(value)
        end
      end

      def where(error)
        line = error.backtrace&.first
        line ? [text("raised at #{line}")] : []
      end

      def opaque(value)
        tag("Opaque", [value.class.name || value.class.to_s, value.inspect.scrub("?")[0, 200]])
      end
    end

    # Turns what JSON has into values.
    class Decoder
      # A buffer is not there any more.
      class Gone < StandardError; end
      private_constant :Gone

      # @param buffers [Array<String, nil>] those that lie beside the message
      def initialize(buffers = [])
        @buffers = buffers
        @inside = 0
      end

      def decode(value)
        case value
        when Array then value.map { |item| decode(item) }
        when Hash
          return value.transform_values { |item| decode(item) } unless value.key?("$type")

          tagged(value)
        else value
        end
      end

      private

      # Whatever does not have the form that WIRE.md describes stays what it is.
      def tagged(hash)
        type, value = hash.values_at("$type", "value")
        return hash.transform_values { |item| decode(item) } unless type.is_a?(String) && hash.key?("value")

        @inside += 1
        begin
          result = typed(type, value)
        ensure
          @inside -= 1
        end
        result == :unknown ? Tagged.new(type, value) : result
      rescue Gone
        raise if @inside.positive? # the outermost value is what has lost it

        Opaque.new(type, "what it holds was released before it arrived")
      rescue ArgumentError, TypeError, NoMethodError, RangeError, FloatDomainError, EncodingError, IndexError
        Tagged.new(type, value)
      end

      def typed(type, value)
        case type
        when "tuple" then Tuple.new(list(value))
        when "set" then Set.new(list(value))
        when "frozenset" then Set.new(list(value)).freeze
        when "dict" then value.to_h { |pair| list(pair) }
        when "float" then { "nan" => Float::NAN, "inf" => Float::INFINITY, "-inf" => -Float::INFINITY }.fetch(value)
        when "complex", "numpy.complex64", "numpy.complex128" then Complex(*value.map { |part| Float(decode(part)) })
        when "Decimal" then decimal(value)
        when "bytes", "bytearray", "image" then decode(value).then { |bytes| bytes.is_a?(String) ? bytes : :unknown }
        when "buffer" then buffer(value)
        when "datetime" then datetime(value)
        when "pandas.Timestamp" then datetime(value.first)
        when "date" then Date.iso8601(value)
        when "Path" then Pathname.new(value)
        when "RemoteError" then RemoteError.new(value[0].to_s, value[1].to_s, Array(value[2]).map(&:to_s))
        when "Opaque" then Opaque.new(value[0].to_s, value[1].to_s)
        when "pandas.NaT", "pandas.NA" then nil
        when "numpy.datetime64" then numpy_time(value)
        when "array" then array(value)
        when "array.masked" then Tables.masked(decode(value[0]), decode(value[1]))
        when "table" then Tables.columns(value, self)
        when "table.series" then Tables.column(value["data"], self)
        when "array.objects" then list(value["items"])
        else NUMBERS[type] ? decode(value) : :unknown
        end
      end

      def list(value)
        value.is_a?(Array) ? decode(value) : raise(TypeError, "that is no list")
      end

      def decimal(text)
        require "bigdecimal"
        BigDecimal(text)
      rescue LoadError # in newer Ruby it is a gem
        :unknown
      end

      def buffer(value)
        return value.unpack1("m0") if value.is_a?(String)

        index = Integer(value)
        (index.negative? ? nil : @buffers[index]) || raise(Gone)
      end

      def datetime(text)
        return ::Time.iso8601(text) if text.match?(/(?:Z|[+-]\d\d:\d\d(?::\d\d)?)\z/i)

        year, month, day, hour, minute, second, fraction =
          text.match(/\A(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?\z/)&.captures
        NaiveTime.local(Integer(year, 10), Integer(month, 10), Integer(day, 10), hour.to_i, minute.to_i,
                        second.to_i + Rational("0#{fraction}"))
      end

      def numpy_time(value)
        number, count, unit = value
        return if number.nil?

        per_second = UNITS[unit] or return :unknown
        ::Time.at(Rational(number * count, per_second), in: "UTC")
      end

      def array(value)
        NDArray.new(value["dtype"], value["shape"], decode(value["data"]), order: value["order"] || "C")
      end
    end

    # Tables as plain columns.
    module Tables
      module_function

      def columns(table, decoder)
        names = decoder.decode(table["columns"])
        names = names["levels"].map { |level| column(level, decoder) }.transpose if names.is_a?(Hash)
        names.zip(table["data"].map { |one| column(one, decoder) }).to_h
      end

      def column(data, decoder)
        if data.key?("codes")
          categories = column(data["categories"], decoder)
          return decoder.decode(data["codes"]).flat.map { |code| code.negative? ? nil : categories.fetch(code) }
        end
        return decoder.decode(data["items"]) if data.key?("items")

        values = data.key?("text") ? texts(data, decoder) : decoder.decode(data["values"])
        values = values.flat if values.is_a?(NDArray)
        data["missing"] ? blank(values, decoder.decode(data["missing"])) : values
      end

      def texts(data, decoder)
        bytes = decoder.decode(data["text"])
        offsets = decoder.decode(data["offsets"]).flat
        offsets.each_cons(2).map do |from, to|
          raise ArgumentError, "wrong offsets" unless from.between?(0, to) && to <= bytes.bytesize

          bytes.byteslice(from, to - from).force_encoding(Encoding::UTF_8).scrub
        end
      end

      def masked(array, mask)
        blank(array.flat, mask)
      end

      def blank(values, missing)
        missing.flat.zip(values).map { |is_missing, value| is_missing ? nil : value }
      end
    end
  end
end
