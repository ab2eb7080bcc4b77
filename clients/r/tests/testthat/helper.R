# Of a hub that the caller provides; see tests/clients/test_r.py. Without one, as in R CMD check, these tests are skipped.
hub_for_tests <- function(...) {
  skip_if_not(nzchar(Sys.getenv("BERRYMQ_RUNTIME_DIR")), "BERRYMQ_RUNTIME_DIR, with a hub and a Python peer")
  bmq_connect(...)
}

with_variables <- function(values, code) {
  old <- Sys.getenv(names(values), unset = NA, names = TRUE)
  on.exit({
    Sys.unsetenv(names(old)[is.na(old)])
    if (any(!is.na(old))) do.call(Sys.setenv, as.list(old[!is.na(old)]))
  })
  do.call(Sys.setenv, as.list(values))
  code
}

private_directory <- function() {
  directory <- tempfile("run")
  dir.create(directory, mode = "0700")
  directory
}
