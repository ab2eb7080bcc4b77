# Before the access token goes over plain HTTP, the node proves that it knows it: `hello` on a WebSocket. Base R has
# neither SHA-256 nor WebSockets, and one exchange of two short frames needs little of either.

powers <- 2^(31:0)
bits <- function(word) (word %/% powers) %% 2 == 1
word <- function(bits) sum(powers[bits])
rotated <- function(n) c((33 - n):32, seq_len(32 - n))

primes <- function(n) {
  found <- 2
  candidate <- 3
  while (length(found) < n) {
    if (all(candidate %% found[found^2 <= candidate] != 0)) found <- c(found, candidate)
    candidate <- candidate + 2
  }
  found
}
# The first 32 bits of the fractional parts of roots of primes: doubles have 52.
sha256_start <- floor((sqrt(primes(8)) %% 1) * 2^32)
sha256_rounds <- floor((primes(64)^(1 / 3) %% 1) * 2^32)

sha256 <- function(data) {
  size <- length(data)
  length_bytes <- as.raw((size * 8) %/% 256^(7:0) %% 256)
  data <- c(data, as.raw(0x80), raw((55 - size) %% 64), length_bytes)
  words <- colSums(matrix(as.numeric(data), 4) * 256^(3:0))
  state <- sha256_start
  turn <- lapply(c(2, 6, 7, 11, 13, 17, 18, 19, 22, 25), rotated)
  names(turn) <- c(2, 6, 7, 11, 13, 17, 18, 19, 22, 25)
  shifted <- function(b, n) c(logical(n), b[seq_len(32 - n)])
  for (block in seq_len(length(words) / 16)) {
    w <- numeric(64)
    w[1:16] <- words[(block - 1) * 16 + 1:16]
    for (i in 17:64) {
      a <- bits(w[i - 15])
      b <- bits(w[i - 2])
      low <- xor(xor(a[turn[["7"]]], a[turn[["18"]]]), shifted(a, 3))
      high <- xor(xor(b[turn[["17"]]], b[turn[["19"]]]), shifted(b, 10))
      w[i] <- (w[i - 16] + word(low) + w[i - 7] + word(high)) %% 2^32
    }
    v <- lapply(state, bits)
    for (i in 1:64) {
      e <- v[[5]]
      a <- v[[1]]
      s1 <- xor(xor(e[turn[["6"]]], e[turn[["11"]]]), e[turn[["25"]]])
      choice <- ifelse(e, v[[6]], v[[7]])
      t1 <- word(v[[8]]) + word(s1) + word(choice) + sha256_rounds[i] + w[i]
      s0 <- xor(xor(a[turn[["2"]]], a[turn[["13"]]]), a[turn[["22"]]])
      majority <- (a & v[[2]]) | (a & v[[3]]) | (v[[2]] & v[[3]])
      t2 <- word(s0) + word(majority)
      v <- c(list(bits((t1 + t2) %% 2^32)), v[1:3], list(bits((word(v[[4]]) + t1) %% 2^32)), v[5:7])
    }
    state <- (state + vapply(v, word, 0)) %% 2^32
  }
  as.raw(rep(state, each = 4) %/% 256^(3:0) %% 256)
}

hmac_sha256 <- function(key, text) {
  key <- charToRaw(enc2utf8(key))
  if (length(key) > 64) key <- sha256(key)
  key <- c(key, raw(64 - length(key)))
  inner <- sha256(c(xor(key, as.raw(0x36)), charToRaw(enc2utf8(text))))
  paste(sha256(c(xor(key, as.raw(0x5c)), inner)), collapse = "")
}

# Not by R's own generator: a program with set.seed() keeps its numbers.
random_bytes <- function(n) {
  if (file.exists("/dev/urandom")) {
    source <- file("/dev/urandom", "rb", raw = TRUE)
    on.exit(close(source))
    return(readBin(source, "raw", n))
  }
  seed <- paste(format(Sys.time(), "%OS6"), Sys.getpid(), tempfile(), paste(proc.time(), collapse = " "))
  sha256(charToRaw(seed))[seq_len(n)]
}

# A proof holds for so many seconds after it or the last call, for it takes 30 ms. A program that gets the hub's port in
# that time is shown the token of a hub that has ended, which opens nothing else unless the user has set it.
proof_seconds <- 5

prove <- function(hub) {
  address <- parse_url(hub$url)
  nonce <- paste(random_bytes(16), collapse = "")
  greeting <- with_others(suppressWarnings(say_hello(address, nonce)), function(e) {
    fail("no_hub", "nothing that is a hub answers at ", hub$url, ": ", conditionMessage(e))
  })
  text <- paste("berrymq server", nonce, greeting$nonce, format(greeting$port, scientific = FALSE))
  if (!identical(greeting$proof, hmac_sha256(hub$token, text)) || !identical(as.numeric(greeting$port), address$port)) {
    fail("refused", "what answers at ", hub$url, " does not know this access token, which was not sent to it")
  }
  hub$trusted_until <- now() + proof_seconds
  invisible()
}

say_hello <- function(address, nonce) {
  socket <- socketConnection(address$host, address$port, blocking = TRUE, open = "r+b", timeout = 5)
  on.exit(close(socket))
  read <- function(n) {
    bytes <- raw()
    deadline <- now() + 5
    while (length(bytes) < n) {
      more <- readBin(socket, "raw", n - length(bytes))
      if (!length(more) || now() > deadline) stop("it closes the connection or does not answer in 5 s")
      bytes <- c(bytes, more)
    }
    bytes
  }
  writeBin(charToRaw(paste0(
    "GET ", address$path, "ws HTTP/1.1\r\nHost: ", address$authority,
    "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: berrymq.v1",
    "\r\nSec-WebSocket-Key: ", jsonlite::base64_enc(random_bytes(16)), "\r\n\r\n"
  )), socket)
  head <- raw()
  while (length(head) < 16384 && !identical(utils::tail(head, 4), charToRaw("\r\n\r\n"))) head <- c(head, read(1))
  status <- rawToChar(head[seq_len(min(12, length(head)))])
  if (status != "HTTP/1.1 101") {
    fail(
      "refused", "what answers at this address (", status, ") does not prove that it knows the access token, which was ",
      "not sent; use https, or trust = TRUE where you know what it is"
    )
  }
  text <- sprintf('{"jsonrpc":"2.0","id":1,"method":"hello","params":{"nonce":"%s"}}', nonce)
  mask <- random_bytes(4)
  payload <- charToRaw(text)
  # A text of less than 126 bytes, masked.
  writeBin(c(as.raw(c(0x81, 0x80 + length(payload))), mask, xor(payload, rep_len(mask, length(payload)))), socket)
  frame <- as.integer(read(2))
  size <- frame[2]
  if (size == 126) size <- sum(as.integer(read(2)) * c(256, 1))
  if (frame[1] != 0x81 || size > 4096) stop("it does not speak berrymq.v1")
  answer <- jsonlite::parse_json(rawToChar(read(size)))$result
  if (!is.character(answer$nonce) || !is.numeric(answer$port)) stop("it does not speak berrymq.v1")
  answer
}
