test_that("SHA-256 and HMAC are those of the standards", {
  hex <- function(text) paste(sha256(charToRaw(text)), collapse = "")
  expect_identical(hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
  expect_identical(
    hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
  )
  expect_identical(
    hmac_sha256("Jefe", "what do ya want for nothing?"),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
  )
})

test_that("URLs are taken apart", {
  expect_identical(parse_url("HTTP://LocalHost:80/x")[c("host", "port", "path")], list(host = "localhost", port = 80, path = "/x/"))
  expect_true(parse_url("http://[::1]:1/")$loopback)
  expect_true(parse_url("http://127.1.2.3/")$loopback)
  expect_false(parse_url("http://127.0.0.1.example.org/")$loopback)
  for (url in c("ftp://a/", "http://a b/", "http://user@a/", "localhost:1", "http://a/?x")) {
    expect_error(parse_url(url), class = "berrymq_error_no_hub")
  }
})

test_that("without a hub, with a file open to others, or without a token it says so", {
  directory <- private_directory()
  path <- file.path(directory, "hub.json")
  with_variables(c(BERRYMQ_RUNTIME_DIR = directory, BERRYMQ_HUB_URL = "", BERRYMQ_HUB_TOKEN = ""), {
    expect_error(bmq_connect(), "berrymq hub", class = "berrymq_error_no_hub")
    writeLines('{"url": "http://127.0.0.1:9/", "access_token": "secret"}', path)
    if (.Platform$OS.type != "windows") {
      Sys.chmod(path, "0644", use_umask = FALSE)
      expect_error(bmq_connect(), "chmod 600", class = "berrymq_error_permissions")
      Sys.chmod(path, "0600", use_umask = FALSE)
      Sys.chmod(directory, "0755", use_umask = FALSE)
      expect_error(bmq_connect(), "chmod 700", class = "berrymq_error_permissions")
      Sys.chmod(directory, "0700", use_umask = FALSE)
    }
    expect_error(bmq_connect(), class = "berrymq_error_no_hub")
    file.rename(path, file.path(directory, "other.json"))
    if (file.symlink(file.path(directory, "other.json"), path)) {
      expect_error(bmq_connect(), "symbolic link", class = "berrymq_error_permissions")
    }
    expect_error(bmq_connect("http://127.0.0.1:9/"), "BERRYMQ_HUB_TOKEN", class = "berrymq_error_refused")
    expect_error(bmq_connect("http://example.org/", "secret"), "https", class = "berrymq_error_refused")
  })
})

test_that("the numbers of set.seed() are not touched", {
  set.seed(1)
  expected <- runif(2)
  set.seed(1)
  random_bytes(16)
  expect_identical(runif(2), expected)
})
