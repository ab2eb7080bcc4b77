runtime_directory <- function() {
  directory <- Sys.getenv("BERRYMQ_RUNTIME_DIR")
  if (nzchar(directory)) return(directory)
  if (.Platform$OS.type == "windows") return(file.path(Sys.getenv("LOCALAPPDATA"), "Temp", "berrymq"))
  if (Sys.info()[["sysname"]] == "Darwin") return(path.expand("~/Library/Caches/TemporaryItems/berrymq"))
  session <- Sys.getenv("XDG_RUNTIME_DIR")
  if (nzchar(session)) return(file.path(session, "berrymq"))
  uid <- file.info(tempdir())$uid # R has no getuid(), and has made this directory
  if (dir.exists(file.path("/run/user", uid))) return(file.path("/run/user", uid, "berrymq"))
  file.path(dirname(tempdir()), paste0("runtime-", uid))
}

find_hub <- function() {
  directory <- runtime_directory()
  path <- file.path(directory, "hub.json")
  start <- "; start one by `berrymq hub --detached` in a terminal, or by %link in a Python notebook"
  if (!file.exists(path)) fail("no_hub", "no hub runs: there is no ", path, start)
  check_private(directory, "700")
  check_private(path, "600")
  content <- tryCatch(
    jsonlite::parse_json(paste(readLines(path, warn = FALSE, encoding = "UTF-8"), collapse = "\n")),
    error = function(e) NULL
  )
  if (!is.character(content$url) || !is.character(content$access_token)) fail("no_hub", "no hub runs: ", path, " is empty", start)
  list(url = content$url, token = content$access_token)
}

check_private <- function(path, mode) {
  if (.Platform$OS.type == "windows") return(invisible())
  info <- file.info(path)
  problem <- if (nzchar(Sys.readlink(path))) {
    "is a symbolic link"
  } else if (!identical(info$uid, file.info(tempdir())$uid)) {
    "belongs to another user"
  } else if (bitwAnd(as.integer(info$mode), strtoi("077", 8)) != 0) {
    "is open to other users"
  }
  if (!is.null(problem)) {
    fail("permissions", path, " ", problem, ", so what it says is not used; remove it, or run `chmod ", mode, " ", path, "`")
  }
}

parse_url <- function(url) {
  pattern <- "^(https?)://(\\[[0-9A-Fa-f:.]+\\]|[^][/:@?#[:space:]]+)(?::([0-9]{1,5}))?(/[^?#[:space:]]*)?$"
  parts <- regmatches(url, regexec(pattern, url, ignore.case = TRUE, perl = TRUE))[[1]]
  if (!length(parts)) fail("no_hub", "a URL of a hub is like http://localhost:8137/ or https://.../berrymq/, not ", url)
  scheme <- tolower(parts[2])
  host <- tolower(parts[3])
  port <- if (nzchar(parts[4])) as.numeric(parts[4]) else if (scheme == "https") 443 else 80
  path <- if (nzchar(parts[5])) parts[5] else "/"
  list(
    scheme = scheme, host = gsub("[][]", "", host), port = port, path = sub("/?$", "/", path),
    authority = paste0(host, if (nzchar(parts[4])) paste0(":", parts[4])),
    loopback = host == "localhost" || host == "[::1]" || grepl("^127(\\.[0-9]{1,3}){3}$", host)
  )
}
