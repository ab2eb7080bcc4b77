# The driver of the R client: commands as JSON lines on stdin, events as JSON lines on stdout; see `README.md`.

script <- sub("^--file=", "", grep("^--file=", commandArgs(), value = TRUE))
directory <- file.path(dirname(normalizePath(script)), "..", "..", "..", "clients", "r", "R")
# The sources as they are, attached like a package: what a test runs needs no installation.
client <- new.env(parent = globalenv())
for (file in list.files(directory, full.names = TRUE)) sys.source(file, client)
for (name in ls(client, pattern = "^close\\.")) registerS3method("close", sub("^close\\.", "", name), get(name, client))
attach(client, name = "berrymq", warn.conflicts = FALSE)

hub <- NULL
queues <- list()

# Values have the form of the wire in both directions, and are not simplified: a list of one stays a list.
read <- function(values) lapply(values, decode, simplify = FALSE)

described <- function(message) {
  if (is.null(message)) return(NULL)
  list(identifier = message$identifier, args = message$args, kwargs = message$kwargs, source = message$source, past = FALSE)
}

end <- function() {
  for (queue in queues) close(queue)
  queues <<- list()
  if (!is.null(hub)) close(hub)
  hub <<- NULL
}

verbs <- list(
  link = function(url = NULL, token = NULL, name = "R", room = NULL, ttl = 1000) {
    hub <<- bmq_connect(url, token, name, room, ttl, simplify = FALSE)
    NULL
  },
  twitter = function(identifier, args = list(), kwargs = list(), count = NULL) {
    send <- function(...) do.call(bmq_send, c(list(hub, identifier, ...), read(args), read(kwargs)))
    if (is.null(count)) send() else for (number in seq_len(count) - 1) send(number)
    NULL
  },
  ask = function(identifier, args = list(), kwargs = list(), timeout = 10) {
    do.call(bmq_ask, c(list(hub, identifier), read(args), read(kwargs), list(.timeout = timeout)))
  },
  queue = function(identifier, shared = FALSE, past = FALSE) {
    queues[[length(queues) + 1]] <<- bmq_queue(hub, identifier, shared, past = as.integer(past))
    length(queues)
  },
  get = function(queue, timeout = 0) described(bmq_pull(queues[[queue]], timeout)),
  close_queue = function(queue) {
    close(queues[[queue]])
    NULL
  },
  keep = function(identifier, last = 1000) {
    bmq_keep(hub, identifier, last)
    NULL
  },
  latest = function(identifier) described(bmq_latest(hub, identifier)),
  past = function(identifier, last = 1000) lapply(bmq_past(hub, identifier, last), described),
  take = function(name) {
    value <- bmq_take(hub, name)
    if (is.data.frame(value)) return(list(columns = lapply(value, as.list)))
    # R's types are these two of numpy's for what the sessions share.
    dtype <- if (is.integer(value)) "<i4" else "<f8"
    shape <- if (is.null(dim(value))) length(value) else dim(value)
    list(dtype = dtype, shape = as.list(shape), values = as.list(as.vector(aperm(array_of(value, shape)))))
  },
  flush = function(timeout = NULL) TRUE, # each call over HTTP has its answer
  close = function() {
    end()
    NULL
  }
)

put <- function(text) {
  cat(text, "\n", sep = "")
  flush(stdout())
}

do <- function(command) {
  number <- encode(command$n)
  verb <- verbs[[command$do]]
  answer <- if (is.null(verb)) {
    list(error = list(kind = "unsupported", message = paste("no command", command$do)))
  } else {
    command[c("do", "n")] <- NULL
    tryCatch(list(ok = do.call(verb, command)), error = function(e) {
      kind <- sub("^berrymq_error_", "", grep("^berrymq_error_", class(e), value = TRUE))
      list(error = list(kind = if (length(kind)) kind else "protocol", message = conditionMessage(e)))
    })
  }
  put(sub("^\\{", paste0('{"n":', number, ","), encode(answer)))
}

input <- file("stdin", "r", encoding = "UTF-8")
while (length(line <- readLines(input, 1, warn = FALSE))) {
  if (nzchar(line)) do(parse_wire(line))
}
end()
