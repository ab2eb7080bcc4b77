# frozen_string_literal: true

require "bigdecimal"

require_relative "test_helper"

class ValuesTest < BerryTest
  def cross(value)
    encoder = BerryMQ::Values::Encoder.new
    json = JSON.generate(encoder.encode(value), max_nesting: 0)
    BerryMQ::Values::Decoder.new(encoder.buffers).decode(JSON.parse(json, max_nesting: 300))
  end

  def decode(type, value)
    BerryMQ::Values::Decoder.new.decode({ "$type" => type, "value" => value })
  end

  def test_values_cross_as_they_are
    [nil, true, 1, -(2**200), 1.5, -0.0, Float::INFINITY, "ü😀", [], [1, [2]], { "a" => { "b" => [nil] } },
     { 1 => "one", [2] => 3 }, { "$type" => "a key" }, Set[1, "x"], Complex(1.5, -2.5), Date.new(2026, 2, 28),
     Time.at(1_700_000_000, 125_000, in: "+02:00"), Time.at(0, in: "UTC"), BigDecimal("0.1"), Pathname("/a/b"),
     "\x00\xff".b, "ascii".b, BerryMQ::Tagged.new("UUID", "1234"), BerryMQ::Opaque.new("a.B", "<B>"),
     BerryMQ::Tuple[1, [2]]].each do |value|
      got = cross(value)
      assert_equal value, got unless value.nil?
      assert_equal value.class, got.class
      assert_equal value.encoding, got.encoding if value.is_a?(String)
    end
    assert_predicate cross(Float::NAN), :nan?
    assert_predicate cross(Set[1].freeze), :frozen?
  end

  def test_what_has_no_form_of_its_own
    assert_equal "symbol", cross(:symbol)
    assert_equal({ "a" => 1 }, cross({ a: 1 }))
    assert_equal({ "x" => 1 }, cross(Struct.new(:x).new(1)))
    assert_equal "é", cross("é".encode("ISO-8859-1"))
    assert_equal "Range", cross(1..2).type
    error = cross(KeyError.new("no"))
    assert_equal ["KeyError", "no"], [error.remote_class, error.text]
  end

  def test_times_without_a_zone_are_local
    time = decode("datetime", "2026-11-28T21:00:00.125000")
    assert_kind_of Time, time
    assert_equal [2026, 28, 21, 125_000], [time.year, time.day, time.hour, time.usec]
    assert_equal time, cross(time)
    assert_instance_of BerryMQ::NaiveTime, cross(time)
  end

  def test_scalars_of_numpy_and_pandas
    assert_equal 5, decode("numpy.int64", 5)
    assert_equal Time.at(5, in: "UTC"), decode("numpy.datetime64", [5_000_000_000, 1, "ns"])
    assert_equal Time.at(0, in: "UTC"), decode("pandas.Timestamp", ["1970-01-01T00:00:00+00:00", "ns", "UTC"])
    assert_nil decode("pandas.NA", nil)
  end

  def test_what_is_malformed_stays_as_it_is
    [["datetime", "yesterday"], ["datetime", 5], ["complex", ["x"]], ["dict", [1]], ["float", "x"], ["date", nil],
     ["array", { "dtype" => "<f8", "shape" => [2], "data" => { "$type" => "buffer", "value" => "" } }],
     ["array", { "dtype" => "<f8", "shape" => [2**70, 2**70], "data" => { "$type" => "buffer", "value" => "" } }],
     ["table", 5], ["tuple", 5], ["RemoteError", nil], ["set", nil], ["Opaque", nil]].each do |type, value|
      got = decode(type, value)
      assert_equal BerryMQ::Tagged.new(type, value), got, type
    end
  end

  def test_what_has_lost_its_buffer
    lost = { "$type" => "buffer", "value" => 3 }
    array = { "dtype" => "<f8", "shape" => [2], "data" => lost }
    { "buffer" => 3, "bytes" => lost, "array" => array, "tuple" => [{ "$type" => "array", "value" => array }] }
      .each { |type, value| assert_equal type, decode(type, value).type }
    assert_kind_of BerryMQ::Opaque, decode("buffer", -1)
    assert_kind_of BerryMQ::Opaque, BerryMQ::Values::Decoder.new.decode([lost]).first
  end

  def test_nesting_has_a_limit
    deep = 200.times.reduce([]) { |inner, _| [inner] }
    assert_raises(BerryMQ::PayloadError) { cross(deep) }
  end

  def test_arrays
    array = cross(BerryMQ::NDArray.from([[1, 2, 3], [4, 5, 6]], dtype: "<i4"))
    assert_equal ["<i4", [2, 3]], [array.dtype, array.shape]
    assert_equal [[1, 2, 3], [4, 5, 6]], array.to_a
    assert_equal 21, array.sum
    fortran = BerryMQ::NDArray.new("<i2", [2, 3], [1, 4, 2, 5, 3, 6].pack("s<*"), order: "F")
    assert_equal [[1, 2, 3], [4, 5, 6]], fortran.to_a
    cube = BerryMQ::NDArray.new("|u1", [2, 2, 2], (0..7).to_a.pack("C*"))
    assert_equal [[[0, 1], [2, 3]], [[4, 5], [6, 7]]], cube.to_a
    assert_equal 5, BerryMQ::NDArray.new("|i1", [], "\x05").to_a
    assert_equal [[], []], BerryMQ::NDArray.new("<f8", [2, 0], "").to_a
  end

  def test_types_of_arrays
    { ["<f8", "E"] => [1.5, -2.0], [">f4", "g"] => [1.5], [">i8", "q>"] => [-(2**40)], ["<u2", "S<"] => [65_535],
      [">i2", "s>"] => [-2] }.each do |(dtype, directive), values|
      assert_equal values, BerryMQ::NDArray.new(dtype, [values.size], values.pack("#{directive}*")).to_a
    end
    assert_equal [true, false], BerryMQ::NDArray.new("|b1", [2], "\x01\x00").to_a
    assert_equal [Complex(1, 2)], BerryMQ::NDArray.new("<c16", [1], [1, 2].pack("E*")).to_a
    assert_equal ["aü", ""], BerryMQ::NDArray.new("<U2", [2], "aü\0\0".encode("UTF-32LE").b).to_a
    assert_equal [Time.at(1, in: "UTC"), nil], BerryMQ::NDArray.new("<M8[ms]", [2], [1000, -(2**63)].pack("q<*")).to_a
    assert_equal [1.5, -Float::INFINITY], BerryMQ::NDArray.new("<f2", [2], [0x3e00, 0xfc00].pack("S<*")).to_a
    assert_raises(ArgumentError) { BerryMQ::NDArray.new("<f8", [2], "short") }
  end

  def test_large_buffers_lie_beside
    encoder = BerryMQ::Values::Encoder.new
    encoded = encoder.encode(["\0" * 70_000, ("\xff" * 70_000).b])
    assert_equal [70_000], encoder.buffers.map(&:bytesize)
    assert_equal 0, encoded[1]["value"]["value"]
  end

  def test_tables_are_columns
    array = ->(dtype, bytes) { BerryMQ::Values::Encoder.new.encode(BerryMQ::NDArray.new(dtype, [2], bytes)) }
    text = { "$type" => "buffer", "value" => ["aü"].pack("m0") }
    offsets = BerryMQ::Values::Encoder.new.encode(BerryMQ::NDArray.from([0, 1, 3], dtype: "<i8"))
    table = decode("table", "library" => "pandas", "columns" => %w[n t c i], "index" => nil, "data" => [
                     { "type" => "int64", "values" => array["<i8", [1, 2].pack("q<*")], "missing" => array["|b1", "\0\1"] },
                     { "type" => "string", "text" => text, "offsets" => offsets },
                     { "type" => "category", "codes" => array["|i1", [0, -1].pack("c*")],
                       "categories" => { "type" => "object", "items" => ["x"] } },
                     { "type" => "object", "items" => [nil, "y"] }
                   ])
    assert_equal({ "n" => [1, nil], "t" => %w[a ü], "c" => ["x", nil], "i" => [nil, "y"] }, table)
  end
end
