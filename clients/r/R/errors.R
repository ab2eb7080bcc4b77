# Conditions: each has a class of its own, then berrymq_error, error and condition.
fail <- function(kind, ..., data = list()) {
  condition <- c(list(message = paste0(...), call = NULL), data)
  stop(structure(condition, class = c(paste0("berrymq_error_", kind), "berrymq_error", "error", "condition")))
}

# Handle errors that are not of this package; a second handler of one tryCatch() would get what the first one raises.
with_others <- function(expr, handler) {
  tryCatch(expr, error = function(e) if (inherits(e, "berrymq_error")) stop(e) else handler(e))
}

# The codes of the wire; anything else is a protocol error.
error_kinds <- c(
  "-32001" = "refused", "-32002" = "closed", "-32003" = "empty", "-32004" = "overflow",
  "-32005" = "too_large", "-32006" = "identifier"
)

fail_for <- function(error) {
  kind <- error_kinds[as.character(error$code)]
  fail(if (is.na(kind)) "protocol" else kind, error$message, data = list(code = error$code))
}
