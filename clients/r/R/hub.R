bmq_connect <- function(url = NULL, token = NULL, name = "R", room = NULL, ttl = 1000, simplify = TRUE, trust = FALSE) {
  if (is.null(url) && nzchar(Sys.getenv("BERRYMQ_HUB_URL"))) url <- Sys.getenv("BERRYMQ_HUB_URL")
  if (is.null(url)) {
    found <- find_hub()
    url <- found$url
    token <- found$token
  }
  if (is.null(token)) token <- Sys.getenv("BERRYMQ_HUB_TOKEN")
  address <- parse_url(url)
  if (!nzchar(token)) fail("refused", "an access token is needed for ", url, ": set BERRYMQ_HUB_TOKEN")
  if (address$scheme == "http" && !address$loopback && !trust) {
    fail("refused", "over plain http, others on the way could read the access token: use https for ", url)
  }
  hub <- new.env(parent = emptyenv())
  hub$url <- paste0(address$scheme, "://", address$authority, address$path)
  hub$token <- token
  hub$name <- name
  hub$room <- room
  hub$ttl <- ttl
  hub$simplify <- simplify
  hub$loopback <- address$loopback
  hub$trusted_until <- if (address$scheme == "https" || trust) Inf else -Inf
  hub$pool <- curl::new_pool()
  hub$closed <- FALSE
  class(hub) <- "bmq_hub"
  hub$sender <- open_sender(hub)
  hub
}

open_sender <- function(hub) call_hub(hub, "connect_oneway", list(ttl = hub$ttl, name = hub$name, room = hub$room))

# With the token to send with. One that has expired, after a long pause, is replaced: what it was to send was refused.
call_as_sender <- function(hub, method, params, wait = 0) {
  tryCatch(
    call_hub(hub, method, c(list(token = hub$sender), params), wait),
    berrymq_error_closed = function(e) {
      if (hub$closed) stop(e)
      hub$sender <- open_sender(hub)
      call_hub(hub, method, c(list(token = hub$sender), params), wait)
    }
  )
}

close.bmq_hub <- function(con, ...) {
  if (!con$closed) {
    tryCatch(call_hub(con, "close_connection", list(token = con$sender)), berrymq_error = identity)
    con$closed <- TRUE
  }
  invisible()
}

print.bmq_hub <- function(x, ...) {
  cat("<berryMQ hub at ", x$url, if (!is.null(x$room)) paste0(", room ", x$room), if (x$closed) ", closed", ">\n", sep = "")
  invisible(x)
}

bmq_send <- function(.hub, .identifier, ...) {
  call_as_sender(.hub, "send_message", c(list(identifier = .identifier), arguments(...)))
  invisible()
}

bmq_ask <- function(.hub, .identifier, ..., .timeout = 25) {
  found <- ask(.hub, .identifier, arguments(...), .timeout)
  if (length(found$errors)) {
    texts <- vapply(found$errors, error_text, "")
    fail("answer", paste(texts, collapse = "\n"), data = list(answers = found$values, errors = found$errors))
  }
  # The answer has no other sign of it: the hub concludes a question after its timeout, and at once when all have answered.
  if (found$seconds >= .timeout) {
    fail("timeout", "not all have answered ", .identifier, " in ", .timeout, " s", data = list(answers = found$values))
  }
  found$values
}

ask <- function(hub, identifier, arguments, timeout) {
  began <- now()
  nodes <- call_as_sender(hub, "ask", c(list(identifier = identifier), arguments, list(timeout = timeout)), timeout)
  seconds <- now() - began
  values <- errors <- list()
  for (node in nodes) {
    buffers <- fetch_buffers(hub, if (length(node) > 3) node[[4]])
    values <- c(values, lapply(node[[2]], decode, buffers = buffers, simplify = hub$simplify))
    errors <- c(errors, node[[3]])
  }
  list(values = values, errors = errors, seconds = seconds)
}

error_text <- function(error) {
  if (is.character(error)) return(error)
  if (is.list(error) && is.list(error$value)) {
    return(paste(c(paste0(error$value[[1]], ": ", error$value[[2]]), unlist(error$value[-(1:2)])), collapse = "\n"))
  }
  paste(unlist(error), collapse = " ")
}

# What R's `...` has: arguments without a name, and keywords.
arguments <- function(...) {
  values <- list(...)
  named <- if (is.null(names(values))) logical(length(values)) else nzchar(names(values))
  keywords <- values[named]
  if (anyDuplicated(names(keywords))) stop("a keyword is there twice")
  list(args = unname(values[!named]), kwargs = if (length(keywords)) keywords else named_list())
}
named_list <- function() structure(list(), names = character())

bmq_keep <- function(hub, identifier, last = 1000) {
  call_hub(hub, "keep", list(identifier = identifier, last = last, room = hub$room, name = hub$name))
  invisible()
}

bmq_past <- function(hub, identifier, last = 1000) {
  found <- list()
  params <- list(identifier = identifier, last = last, room = hub$room)
  repeat {
    answer <- call_hub(hub, "history", params)
    found <- c(found, lapply(answer$messages, as_message, hub = hub))
    if (!isTRUE(answer$more) || !length(answer$messages)) return(found)
    params <- list(identifier = identifier, after = answer$messages[[length(answer$messages)]]$n, room = hub$room)
  }
}

bmq_latest <- function(hub, identifier) {
  found <- bmq_past(hub, identifier, last = 1)
  if (length(found)) found[[length(found)]]
}

bmq_take <- function(hub, name, timeout = 25) {
  found <- ask(hub, paste0(name, "@berrymq:take"), list(args = list(), kwargs = named_list()), timeout)
  shared <- Filter(function(one) length(one) == 2, found$values)
  if (!length(shared)) {
    if (length(found$errors)) fail("answer", paste(vapply(found$errors, error_text, ""), collapse = "\n"))
    fail("not_shared", "nothing is shared as \"", name, "\"")
  }
  newest <- which.max(vapply(shared, function(one) as.numeric(one[[1]]), 0))
  shared[[newest]][[2]]
}

bmq_shares <- function(hub, timeout = 5) {
  found <- ask(hub, "*@berrymq:describe", list(args = list(), kwargs = named_list()), timeout)$values
  rows <- unlist(lapply(found, function(one) if (is.list(one) && is.list(one[[1]])) one else list(one)), recursive = FALSE)
  text <- function(i) vapply(rows, function(row) paste(unlist(row[[i]]), collapse = " x "), "")
  number <- function(i) vapply(rows, function(row) if (is.null(row[[i]])) NA_real_ else as.numeric(row[[i]]), 0)
  data.frame(
    name = text(1), type = text(2), shape = text(3), bytes = number(4), node = text(5),
    shared_at = as.POSIXct(number(6), origin = "1970-01-01")
  )
}
