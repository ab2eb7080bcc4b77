# JSON of R's values, and back. `$type` marks what JSON lacks.

bmq_tagged <- function(type, value) structure(list(type = type, value = value), class = "bmq_tagged")

print.bmq_tagged <- function(x, ...) {
  cat("<", x$type, "> ", sep = "")
  str(x$value)
  invisible(x)
}

# An integer beyond 2^53 that no number of R can hold, as its digits.
format.bmq_integer <- function(x, ...) unclass(x)
as.double.bmq_integer <- function(x, ...) as.double(unclass(x))
print.bmq_integer <- function(x, ...) {
  cat("[1] ", unclass(x), "\n", sep = "")
  invisible(x)
}

encode <- function(value) {
  if (is.null(value)) return("null")
  if (inherits(value, "bmq_tagged")) return(tagged(value$type, encode(value$value)))
  if (inherits(value, "bmq_integer")) return(unclass(value))
  if (is.data.frame(value)) return(encode_list(as.list(value), lapply(value, I)))
  if (is.list(value) && !is.object(value)) return(encode_list(value))
  if (inherits(value, "POSIXlt")) value <- as.POSIXct(value)
  if (inherits(value, "AsIs")) {
    class(value) <- setdiff(class(value), "AsIs")
    return(paste0("[", paste(encode_each(value), collapse = ","), "]"))
  }
  if (is.raw(value)) return(tagged("bytes", encode_buffer(value)))
  if (is.array(value)) return(encode_array(value))
  if (!is.atomic(value)) stop("what has the class ", class(value)[1], " can't be sent; send a list, a vector or a data frame")
  texts <- encode_each(value)
  if (length(texts) == 1) texts else paste0("[", paste(texts, collapse = ","), "]")
}

encode_list <- function(value, elements = value) {
  texts <- vapply(elements, encode, "", USE.NAMES = FALSE)
  if (is.null(names(value))) return(paste0("[", paste(texts, collapse = ","), "]"))
  if (!all(nzchar(names(value)))) stop("a list has names for all of its elements, or for none")
  if ("$type" %in% names(value)) {
    pairs <- paste0("[", encode_text(names(value)), ",", texts, "]", collapse = ",")
    return(tagged("dict", paste0("[", pairs, "]")))
  }
  paste0("{", paste(encode_text(names(value)), texts, sep = ":", recycle0 = TRUE, collapse = ","), "}")
}

tagged <- function(type, text) paste0('{"$type":', encode_text(type), ',"value":', text, "}")

encode_text <- function(text) {
  text <- enc2utf8(text)
  if (any(!validUTF8(text))) stop("a text is not valid UTF-8")
  vapply(text, function(one) as.character(jsonlite::toJSON(jsonlite::unbox(one))), "", USE.NAMES = FALSE)
}

encode_number <- function(x) {
  texts <- sprintf("%.15g", x)
  loses <- as.numeric(texts) != x
  texts[loses] <- sprintf("%.17g", x[loses])
  texts
}

# Each element of a vector as JSON.
encode_each <- function(value) {
  if (!length(value)) return(character())
  missing <- is.na(value) & !(is.numeric(value) & !is.object(value) & is.nan(suppressWarnings(as.numeric(value))))
  texts <- rep("null", length(value))
  x <- value[!missing]
  texts[!missing] <- if (inherits(value, "factor")) {
    encode_text(as.character(x))
  } else if (inherits(value, "Date")) {
    tagged("date", sprintf('"%s"', format(x)))
  } else if (inherits(value, "POSIXct")) {
    tagged("datetime", sprintf('"%s"', format_time(x)))
  } else if (inherits(value, "difftime")) {
    s <- round(as.numeric(x, units = "secs"), 6)
    tagged("timedelta", sprintf("[%.0f,%.0f,%.0f]", s %/% 86400, floor(s %% 86400), round((s %% 1) * 1e6)))
  } else if (inherits(value, "integer64")) {
    as.character(x)
  } else if (is.complex(value)) {
    tagged("complex", sprintf("[%s,%s]", encode_float(Re(x)), encode_float(Im(x))))
  } else if (is.logical(value)) {
    ifelse(x, "true", "false")
  } else if (is.numeric(value)) {
    encode_float(x)
  } else if (is.character(value)) {
    encode_text(x)
  } else {
    stop("what has the type ", typeof(value), " can't be sent")
  }
  texts
}

encode_float <- function(x) {
  x <- as.numeric(x)
  finite <- is.finite(x)
  texts <- ifelse(is.nan(x), '{"$type":"float","value":"nan"}', sprintf('{"$type":"float","value":"%s"}', ifelse(x > 0, "inf", "-inf")))
  texts[finite] <- encode_number(x[finite])
  texts
}

# ISO 8601 with the offset of the time zone, to microseconds.
format_time <- function(x) {
  seconds <- floor(as.numeric(x))
  micro <- round((as.numeric(x) - seconds) * 1e6)
  over <- micro >= 1e6
  whole <- as.POSIXct(seconds + over, origin = "1970-01-01", tz = if (is.null(attr(x, "tzone"))) "" else attr(x, "tzone")[1])
  micro[over] <- 0
  sprintf("%s.%06.0f%s", format(whole, "%Y-%m-%dT%H:%M:%S"), micro, sub("(..)$", ":\\1", format(whole, "%z")))
}

encode_buffer <- function(bytes) {
  paste0('{"$type":"buffer","value":"', gsub("[\r\n]", "", jsonlite::base64_enc(bytes)), '"}')
}

encode_array <- function(x) {
  if (is.object(x)) stop("an array of the class ", class(x)[1], " can't be sent; send its values")
  shape <- paste0("[", paste(dim(x), collapse = ","), "]")
  dtype <- switch(typeof(x), double = "<f8", integer = "<i4", complex = "<c16", logical = "|b1")
  if (is.null(dtype) || (typeof(x) %in% c("integer", "logical") && anyNA(x))) {
    items <- aperm(x) # C order
    return(tagged("array.objects", sprintf('{"shape":%s,"items":[%s]}', shape, paste(encode_each(as.vector(items)), collapse = ","))))
  }
  bytes <- if (is.logical(x)) as.raw(x) else writeBin(as.vector(x), raw(), endian = "little")
  tagged("array", sprintf('{"dtype":"%s","shape":%s,"order":"F","data":%s}', dtype, shape, encode_buffer(bytes)))
}

# Integers of 16 digits and more, outside of texts, keep their digits.
long_integer <- '"[^"\\\\]*+(?:\\\\.[^"\\\\]*+)*+"(*SKIP)(*FAIL)|(?<![-+.0-9eE])(-?[0-9]{16,}+)(?![.eE])'

parse_wire <- function(text) {
  if (grepl("[0-9]{16}", text)) {
    text <- gsub(long_integer, '{"$type":"int","value":"\\1"}', text, perl = TRUE)
  }
  tryCatch(jsonlite::parse_json(text), error = function(e) NULL)
}

# `buffers` are those that lie beside the message.
decode <- function(value, buffers = list(), simplify = TRUE) {
  if (!is.list(value)) return(value)
  again <- function(one) decode(one, buffers, simplify)
  if (is.null(names(value))) {
    value <- lapply(value, again)
    return(if (simplify) simplified(value) else value)
  }
  type <- value[["$type"]]
  if (!is.character(type)) return(lapply(value, again))
  decoder <- decoders[[type]]
  content <- value[["value"]]
  if (is.null(decoder)) return(bmq_tagged(type, again(content)))
  with_others(decoder(content, again, buffers), function(e) {
    fail("protocol", "a value of the type ", type, " is malformed: ", conditionMessage(e))
  })
}

# A list of single numbers, truth values or texts is a vector; null in it is NA.
simplified <- function(values) {
  empty <- vapply(values, is.null, NA)
  if (all(empty)) return(values)
  plain <- vapply(values[!empty], function(one) is.atomic(one) && length(one) == 1 && !is.object(one) && is.null(dim(one)), NA)
  kinds <- unique(vapply(values[!empty], function(one) if (is.numeric(one)) "number" else typeof(one), ""))
  if (!all(plain) || length(kinds) > 1) return(values)
  values[empty] <- NA
  unlist(values)
}

buffer_of <- function(value, buffers) {
  content <- value[["value"]]
  if (is.character(content)) return(jsonlite::base64_dec(content))
  bytes <- if (content < length(buffers)) buffers[[content + 1]]
  if (is.null(bytes)) fail("gone", "a buffer of this message is gone: whoever sent it has released it")
  bytes
}

decode_float <- function(x) if (is.character(x)) as.numeric(c(nan = "NaN", inf = "Inf", "-inf" = "-Inf")[[x]]) else as.numeric(x)

parse_time <- function(text, zone = NULL) {
  # Text without an offset is the local time of its sender, here read as ours.
  parts <- regmatches(text, regexec("^(.{10})[T ](\\d\\d:\\d\\d)(:\\d\\d)?(\\.\\d+)?(Z|[+-]\\d\\d:?\\d\\d)?(:\\d\\d)?$", text))[[1]]
  if (!length(parts)) stop("not a time: ", text)
  clock <- paste0(parts[2], " ", parts[3], if (nzchar(parts[4])) parts[4] else ":00")
  fraction <- if (nzchar(parts[5])) as.numeric(parts[5]) else 0
  offset <- sub("Z", "+0000", gsub(":", "", parts[6]))
  if (!nzchar(offset)) return(as.POSIXct(clock, tz = if (is.null(zone)) "" else zone) + fraction)
  at <- as.POSIXct(paste(clock, offset), format = "%Y-%m-%d %H:%M:%S %z", tz = "UTC") + fraction
  if (!is.null(zone) && zone %in% OlsonNames()) attr(at, "tzone") <- zone
  at
}

seconds_per <- c(
  W = 604800, D = 86400, h = 3600, m = 60, s = 1, ms = 1e-3, us = 1e-6, ns = 1e-9, ps = 1e-12, fs = 1e-15, as = 1e-18
)

as_sequence <- function(value, again, ...) again(value)
as_float <- function(value, ...) decode_float(if (is.list(value)) value[["value"]] else value)
as_scalar <- function(value, again, ...) again(value)
as_pair <- function(value, again, ...) {
  complex(real = decode_float(again(value[[1]])), imaginary = decode_float(again(value[[2]])))
}

decoders <- list(
  int = function(value, ...) {
    number <- as.numeric(value)
    if (abs(number) < 2^53) return(number)
    if (abs(number) < 2^63 && requireNamespace("bit64", quietly = TRUE)) return(bit64::as.integer64(value))
    structure(value, class = "bmq_integer")
  },
  tuple = as_sequence, set = as_sequence, frozenset = as_sequence,
  float = as_float,
  complex = as_pair, numpy.complex64 = as_pair, numpy.complex128 = as_pair,
  bytes = function(value, again, buffers) buffer_of(value, buffers),
  bytearray = function(value, again, buffers) buffer_of(value, buffers),
  image = function(value, again, buffers) bmq_tagged("image", buffer_of(value, buffers)),
  date = function(value, ...) as.Date(value),
  datetime = function(value, ...) parse_time(value),
  timedelta = function(value, ...) {
    as.difftime(value[[1]] * 86400 + value[[2]] + value[[3]] / 1e6, units = "secs")
  },
  Path = as_scalar, PurePosixPath = as_scalar, PureWindowsPath = as_scalar, UUID = as_scalar,
  numpy.bool = as_scalar, numpy.str = as_scalar,
  numpy.int8 = as_scalar, numpy.int16 = as_scalar, numpy.int32 = as_scalar, numpy.int64 = as_scalar,
  numpy.uint8 = as_scalar, numpy.uint16 = as_scalar, numpy.uint32 = as_scalar, numpy.uint64 = as_scalar,
  numpy.float16 = function(value, again, ...) decode_float(again(value)),
  numpy.float32 = function(value, again, ...) decode_float(again(value)),
  numpy.float64 = function(value, again, ...) decode_float(again(value)),
  pandas.Timestamp = function(value, ...) parse_time(value[[1]], value[[3]]),
  pandas.NaT = function(value, ...) as.POSIXct(NA),
  pandas.NA = function(value, ...) NA,
  array = function(value, again, buffers) decode_array(value, buffers),
  array.objects = function(value, again, buffers) {
    in_c_order(simplified(lapply(value$items, again)), value$shape)
  },
  array.masked = function(value, again, buffers) {
    x <- again(value[[1]])
    if (!is.null(value[[2]])) x[again(value[[2]])] <- NA
    x
  },
  table = function(value, again, buffers) decode_table(value, again, buffers),
  table.series = function(value, again, buffers) decode_column(value$data, again, buffers)
)
