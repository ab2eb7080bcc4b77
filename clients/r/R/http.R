now <- function() as.numeric(Sys.time())

# Call a method; `wait` is how many seconds the node may take beyond the usual.
call_hub <- function(hub, method, params, wait = 0) {
  if (hub$closed) fail("closed", "this connection is closed; bmq_connect() makes another one")
  params <- Filter(Negate(is.null), params)
  body <- paste0('{"jsonrpc":"2.0","id":1,"method":', encode(method), ',"params":', encode(params), "}")
  response <- post(hub, body, wait)
  answer <- parse_wire(as_text(response$content))
  if (is.null(answer)) fail("protocol", "what answers at ", hub$url, " is no hub: HTTP status ", response$status_code)
  if (!is.null(answer$error)) fail_for(answer$error)
  answer$result
}

post <- function(hub, body, wait) {
  if (hub$trusted_until < now()) prove(hub)
  handle <- curl::new_handle()
  curl::handle_setopt(handle, followlocation = FALSE, connecttimeout = 10, timeout_ms = (wait + 35) * 1000, maxfilesize_large = 2^30)
  if (hub$loopback) curl::handle_setopt(handle, noproxy = "*")
  body <- charToRaw(enc2utf8(body))
  curl::handle_setopt(handle, post = TRUE, postfields = body, postfieldsize_large = length(body))
  curl::handle_setheaders(
    handle, Authorization = paste("Bearer", hub$token), "Content-Type" = "application/json", Expect = ""
  )
  response <- NULL
  # By a pool, whose waits R can interrupt; curl_fetch_memory() makes an error of an interrupt.
  curl::curl_fetch_multi(
    paste0(hub$url, "rpc"), function(result) response <<- result, function(text) response <<- text,
    pool = hub$pool, handle = handle
  )
  on.exit(curl::multi_cancel(handle))
  curl::multi_run(pool = hub$pool)
  if (is.character(response)) {
    if (hub$trusted_until < Inf) hub$trusted_until <- -Inf
    timed_out <- grepl("timed? ?out", response, ignore.case = TRUE)
    fail(if (timed_out) "timeout" else "no_hub", "the hub at ", hub$url, " does not answer: ", response)
  }
  if (hub$trusted_until < Inf) hub$trusted_until <- now() + proof_seconds
  if (response$status_code %in% c(401, 403)) fail("refused", "the hub at ", hub$url, " refuses this access token")
  response
}

# In parts, by a method that Jupyter servers pass on as well.
download <- function(hub, buffer) {
  parts <- list()
  done <- 0
  while (done < buffer$size) {
    part <- tryCatch(
      jsonlite::base64_dec(call_hub(hub, "buffer", list(path = buffer$path, offset = done), wait = 60)),
      berrymq_error_protocol = function(e) NULL
    )
    if (!length(part)) return(NULL)
    parts[[length(parts) + 1]] <- part
    done <- done + length(part)
  }
  if (done != buffer$size) fail("protocol", "a buffer is longer than announced")
  unlist(parts)
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
    download(hub, buffer)
  })
}
