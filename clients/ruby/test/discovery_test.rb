# frozen_string_literal: true

require "tmpdir"

require_relative "test_helper"

class DiscoveryTest < BerryTest
  def setup
    super
    @directory = Dir.mktmpdir
    @former = ENV.to_h
    ENV["BERRYMQ_RUNTIME_DIR"] = @directory
    ENV["PATH"] = "" # so that no hub is started
  end

  def teardown
    super
    ENV.replace(@former)
    File.chmod(0o700, @directory)
    FileUtils.remove_entry(@directory)
  end

  def write(content = { url: "http://127.0.0.1:9/", access_token: "secret" }, mode: 0o600)
    path = File.join(@directory, "hub.json")
    File.write(path, content.is_a?(String) ? content : JSON.generate(content))
    File.chmod(mode, path)
    path
  end

  def locked(path)
    File.open(path) do |file|
      file.flock(File::LOCK_EX)
      yield
    end
  end

  def test_a_hub_is_found_by_its_locked_file
    locked(write) do
      found = BerryMQ::Discovery.hub
      assert_equal ["http://127.0.0.1:9/", "secret"], [found.url, found.token]
      refute_includes found.inspect, "secret"
    end
  end

  def test_a_file_that_is_not_locked_is_ignored
    write
    assert_match(/berrymq hub/, assert_raises(BerryMQ::NoHubError) { bus.link }.message)
  end

  def test_a_hub_that_the_environment_names
    ENV.update("BERRYMQ_HUB_URL" => "http://127.0.0.1:9/", "BERRYMQ_HUB_TOKEN" => "secret\n")
    found = BerryMQ::Discovery.find(nil, nil)
    assert_equal ["http://127.0.0.1:9/", "secret"], [found.url, found.token]
  end

  def test_a_hub_is_started_where_that_is_installed
    File.write("#{@directory}/berrymq", "#!/bin/sh\necho \"$@\" > #{@directory}/called\n")
    File.chmod(0o700, "#{@directory}/berrymq")
    ENV["PATH"] = @directory
    assert_raises(BerryMQ::NoHubError) { bus.link }
    assert_equal "hub --detached\n", File.read("#{@directory}/called")
  end

  def test_no_file
    assert_raises(BerryMQ::NoHubError) { bus.link }
    ENV["BERRYMQ_RUNTIME_DIR"] = "#{@directory}/none"
    assert_raises(BerryMQ::NoHubError) { bus.link }
  end

  def test_what_others_can_read_or_replace_is_refused
    locked(write(mode: 0o644)) do
      assert_match(/chmod 600/, assert_raises(BerryMQ::PermissionsError) { bus.link }.message)
    end
    locked(write) do
      File.chmod(0o755, @directory)
      assert_match(/chmod 700/, assert_raises(BerryMQ::PermissionsError) { bus.link }.message)
    end
    File.chmod(0o700, @directory)
    File.rename(write, "#{@directory}/other")
    File.symlink("other", "#{@directory}/hub.json")
    assert_raises(BerryMQ::PermissionsError) { bus.link }
  end

  def test_a_relative_directory_is_refused
    ENV["BERRYMQ_RUNTIME_DIR"] = "here"
    assert_raises(BerryMQ::PermissionsError) { bus.link }
  end

  def test_what_is_no_connection_file
    ["{", "[]", "{\"url\":5}", "\xff"].each do |content|
      locked(write(content)) { assert_raises(BerryMQ::LinkError) { bus.link } }
    end
  end

  def test_urls
    { "ws://LocalHost:8137/lab/ws" => "http://localhost:8137/lab/", "https://lab.example.org/berrymq?token=secret" =>
      "https://lab.example.org/berrymq/", "http://[::1]:8137" => "http://[::1]:8137/" }.each do |text, url|
      assert_equal url, BerryMQ::Discovery.find(text, "t").url
    end
    ["ftp://x/", "localhost:8137", "http://user:secret@host/", "http://", "no url"].each do |text|
      error = assert_raises(BerryMQ::LinkError) { BerryMQ::Discovery.find(text, "t") }
      refute_includes error.message, "secret"
    end
  end
end
