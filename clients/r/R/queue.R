bmq_queue <- function(hub, identifier, shared = FALSE, past = 0) {
  token <- call_hub(hub, "connect_via_queue", list(
    identifier = identifier, ttl = hub$ttl, name = hub$name, room = hub$room, past = past, shared = shared
  ))
  queue <- new.env(parent = emptyenv())
  queue$hub <- hub
  queue$identifier <- identifier
  queue$shared <- shared
  queue$token <- token
  queue$received <- 0
  queue$dropped <- 0
  queue$closed <- FALSE
  class(queue) <- "bmq_queue"
  queue
}

bmq_pull <- function(queue, timeout = Inf) {
  if (queue$closed) fail("closed", "the queue of ", queue$identifier, " is closed")
  deadline <- now() + timeout
  repeat {
    wait <- min(25, max(0, deadline - now()))
    message <- get_message(queue, wait)
    if (!is.null(message)) return(message)
    if (now() >= deadline) return(NULL)
  }
}

# `received` has the node send again what was on its way when a connection broke, or a wait was interrupted.
get_message <- function(queue, wait, again = TRUE) {
  method <- if (wait > 0) "get" else "get_nowait"
  params <- list(token = queue$token, timeout = if (wait > 0) wait, received = queue$received)
  raw <- tryCatch(
    call_hub(queue$hub, method, params, wait),
    berrymq_error_empty = function(e) NULL,
    berrymq_error_no_hub = function(e) if (again) FALSE else stop(e)
  )
  if (isFALSE(raw)) return(get_message(queue, wait, again = FALSE))
  if (is.null(raw)) return(NULL)
  queue$received <- raw$n
  queue$dropped <- queue$dropped + raw$dropped
  as_message(raw, queue$hub)
}

bmq_drain <- function(queue, max = Inf) {
  found <- list()
  while (length(found) < max && !is.null(message <- bmq_pull(queue, 0))) found[[length(found) + 1]] <- message
  found
}

bmq_each <- function(queue, f, ..., timeout = Inf) {
  count <- 0
  while (!is.null(message <- bmq_pull(queue, timeout))) {
    count <- count + 1
    if (isFALSE(f(message, ...))) break
  }
  invisible(count)
}

close.bmq_queue <- function(con, ...) {
  if (!con$closed) {
    con$closed <- TRUE
    tryCatch(
      call_hub(con$hub, "close_connection", list(token = con$token, received = con$received)),
      berrymq_error = identity
    )
  }
  invisible()
}

print.bmq_queue <- function(x, ...) {
  cat(
    "<berryMQ ", if (x$shared) "shared ", "queue of ", x$identifier, if (x$dropped) paste0(", ", x$dropped, " dropped"),
    if (x$closed) ", closed", ">\n", sep = ""
  )
  invisible(x)
}

as_message <- function(raw, hub) {
  buffers <- fetch_buffers(hub, raw$buffers)
  each <- function(values) lapply(values, decode, buffers = buffers, simplify = hub$simplify)
  structure(
    list(
      identifier = raw$id, args = each(raw$args), kwargs = each(raw$kwargs), source = raw$source,
      sent_at = as.POSIXct(raw$sent_at, origin = "1970-01-01")
    ),
    class = "bmq_message"
  )
}

format.bmq_message <- function(x, ...) {
  values <- c(x$args, x$kwargs)
  texts <- vapply(values, function(value) {
    text <- paste(deparse(value, nlines = 1), collapse = "")
    if (nchar(text) > 60) paste0(substr(text, 1, 57), "...") else text
  }, "")
  names <- if (is.null(names(values))) character(length(values)) else names(values)
  paste(c(x$identifier, paste0(ifelse(nzchar(names), paste0(names, " = "), ""), texts)[seq_along(texts)]), collapse = " ")
}

print.bmq_message <- function(x, ...) {
  cat(format(x), "  (", x$source, ", ", format(x$sent_at, "%H:%M:%S"), ")\n", sep = "")
  invisible(x)
}
