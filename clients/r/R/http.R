now <- function() as.numeric(Sys.time())

# Call a method; `wait` is how many seconds the node may take beyond the usual.
call_hub <- function(hub, method, params, wait = 0) {
  if (hub$closed) fail("closed", "this connection is closed; bmq_connect() makes another one")
  params <- Filter(Negate(is.null), params)
  body <- paste0('{"jsonrpc":"2.0","id":1,"method":', encode(method), ',"params":', encode(params), "}")
  response <- request(hub, "rpc", body, wait)
  answer <- parse_wire(as_text(response$content))
  if (is.null(answer)) fail("protocol", "what answers at ", hub$url, " is no hub: HTTP status ", response$status_code)
  if (!is.null(answer$error)) fail_for(answer$error)
  answer$result
}

request <- function(hub, path, body = NULL, wait = 0) {
  if (hub$trusted_until < now()) prove(hub)
  handle <- hub$handle
  curl::handle_reset(handle)
  curl::handle_setopt(handle, followlocation = FALSE, connecttimeout = 10, timeout_ms = (wait + 35) * 1000, maxfilesize_large = 2^30)
  if (hub$loopback) curl::handle_setopt(handle, noproxy = "*")
  headers <- c(Authorization = paste("Bearer", hub$token))
  if (!is.null(body)) {
    curl::handle_setopt(handle, post = TRUE, postfields = charToRaw(enc2utf8(body)), postfieldsize = nchar(body, "bytes"))
    headers <- c(headers, "Content-Type" = "application/json", Expect = "")
  }
  curl::handle_setheaders(handle, .list = as.list(headers))
  url <- paste0(hub$url, path)
  response <- tryCatch(curl::curl_fetch_memory(url, handle), error = function(e) {
    if (hub$trusted_until < Inf) hub$trusted_until <- -Inf
    timed_out <- grepl("timed? ?out", conditionMessage(e), ignore.case = TRUE)
    fail(if (timed_out) "timeout" else "no_hub", "the hub at ", hub$url, " does not answer: ", conditionMessage(e))
  })
  if (hub$trusted_until < Inf) hub$trusted_until <- now() + 30
  if (response$status_code %in% c(401, 403)) fail("refused", "the hub at ", hub$url, " refuses this access token")
  response
}

as_text <- function(bytes) {
  text <- tryCatch(rawToChar(bytes), error = function(e) "")
  Encoding(text) <- "UTF-8"
  text
}

# Buffers of a message: each as base64, or as a path to download it from, or null where it is gone.
fetch_buffers <- function(hub, buffers) {
  lapply(buffers, function(buffer) {
    if (is.null(buffer)) return(NULL)
    if (is.character(buffer)) return(jsonlite::base64_dec(buffer))
    response <- request(hub, sub("^/", "", buffer$path), wait = 60)
    if (response$status_code != 200) return(NULL)
    if (length(response$content) != buffer$size) fail("protocol", "a buffer is not as long as announced")
    response$content
  })
}
