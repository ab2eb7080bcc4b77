# Arrays of numpy have their elements in C order as a rule, those of R in Fortran's.
in_c_order <- function(values, shape) {
  shape <- as.integer(unlist(shape))
  if (length(shape) < 2) return(values)
  aperm(array(values, rev(shape)))
}

decode_array <- function(value, buffers) {
  bytes <- buffer_of(value$data, buffers)
  shape <- as.numeric(unlist(value$shape))
  values <- decode_elements(bytes, value$dtype, prod(shape))
  if (length(shape) < 2 || is.data.frame(values)) return(values)
  if (identical(value$order, "F")) array_of(values, shape) else aperm(array_of(values, rev(shape)))
}

# Like array(), for values that have a class too.
array_of <- function(values, shape) {
  dim(values) <- shape
  values
}

decode_elements <- function(bytes, dtype, count) {
  if (is.list(dtype)) return(decode_records(bytes, dtype, count))
  parts <- regmatches(dtype, regexec("^([<>|=]?)([a-zA-Z])(\\d+)(?:\\[(\\d*)(\\w+)\\])?$", dtype, perl = TRUE))[[1]]
  if (!length(parts)) stop("unknown dtype ", dtype)
  kind <- parts[3]
  size <- as.numeric(parts[4])
  width <- if (kind == "U") 4 * size else size
  if (length(bytes) != width * count) stop("the data does not have the length of type and shape")
  endian <- if (parts[2] == ">") "big" else "little"
  ints <- function(signed = TRUE) readBin(bytes, "integer", count, min(size, 4), signed, endian)
  if (kind == "M" || kind == "m") {
    return(decode_times(bytes, count, endian, kind, if (nzchar(parts[5])) as.numeric(parts[5]) else 1, parts[6]))
  }
  switch(paste0(kind, if (!kind %in% c("U", "S")) size),
    f8 = , f4 = readBin(bytes, "numeric", count, size, endian = endian),
    f2 = half_floats(readBin(bytes, "integer", count, 2, FALSE, endian)),
    i1 = , i2 = ints(),
    u1 = , u2 = ints(FALSE),
    i4 = {
      found <- ints()
      if (anyNA(found)) replace(as.numeric(found), is.na(found), -2^31) else found
    },
    u4 = unsigned(bytes, count, endian),
    i8 = , u8 = long_integers(bytes, count, endian, kind == "i"),
    b1 = bytes != 0,
    c8 = , c16 = {
      parts <- readBin(bytes, "numeric", 2 * count, size / 2, endian = endian)
      complex(real = parts[odd(count)], imaginary = parts[odd(count) + 1])
    },
    U = vapply(columns_of(unsigned(bytes, size * count, endian), size, count), function(codes) {
      codes <- codes[seq_len(max(0, which(codes != 0)))]
      if (length(codes)) intToUtf8(codes) else ""
    }, ""),
    S = vapply(columns_of(bytes, size, count), function(one) {
      rawToChar(one[seq_len(max(0, which(one != 0)))])
    }, ""),
    stop("unknown dtype ", dtype)
  )
}

columns_of <- function(values, size, count) {
  lapply(seq_len(count), function(i) values[(i - 1) * size + seq_len(size)])
}

odd <- function(count) 2 * seq_len(count) - 1

unsigned <- function(bytes, count, endian) {
  halves <- readBin(bytes, "integer", 2 * count, 2, FALSE, endian)
  first <- halves[odd(count)]
  second <- halves[odd(count) + 1]
  if (endian == "little") second * 65536 + first else first * 65536 + second
}

# The two halves of integers of 8 bytes.
long_halves <- function(bytes, count, endian, signed = TRUE) {
  words <- unsigned(bytes, 2 * count, endian)
  first <- words[odd(count)]
  second <- words[odd(count) + 1]
  high <- if (endian == "little") second else first
  if (signed) high <- high - 2^32 * (high >= 2^31)
  list(high = high, low = if (endian == "little") first else second)
}

long_integers <- function(bytes, count, endian, signed) {
  halves <- long_halves(bytes, count, endian, signed)
  values <- halves$high * 2^32 + halves$low
  large <- abs(values) > 2^53
  if (!any(large)) return(values)
  if (signed && requireNamespace("bit64", quietly = TRUE)) {
    return(structure(readBin(bytes, "numeric", count, 8, endian = endian), class = "integer64"))
  }
  warning(sum(large), " of ", count, " integers are beyond 2^53 and were rounded", if (signed) "; install bit64 to have them exactly", call. = FALSE)
  values
}

half_floats <- function(x) {
  sign <- ifelse(x >= 32768, -1, 1)
  exponent <- x %/% 1024 %% 32
  fraction <- x %% 1024
  sign * ifelse(exponent == 31, ifelse(fraction == 0, Inf, NaN),
    ifelse(exponent == 0, fraction * 2^-24, (1 + fraction / 1024) * 2^(exponent - 15))
  )
}

decode_times <- function(bytes, count, endian, kind, multiple, unit) {
  halves <- long_halves(bytes, count, endian)
  value <- (halves$high * 2^32 + halves$low) * multiple
  value[halves$high == -2^31 & halves$low == 0] <- NA
  if (unit %in% c("Y", "M") && kind == "M") {
    months <- if (unit == "Y") value * 12 else value
    text <- ifelse(is.na(months), NA, sprintf("%04d-%02d-01", as.integer(1970 + months %/% 12), as.integer(months %% 12 + 1)))
    return(as.Date(text))
  }
  if (!unit %in% names(seconds_per)) stop("unknown unit of time ", unit)
  if (kind == "M" && unit == "D") return(structure(value, class = "Date"))
  per <- seconds_per[[unit]]
  seconds <- if (per < 1) value / round(1 / per) else value * per
  if (kind == "m") as.difftime(seconds, units = "secs") else as.POSIXct(seconds, origin = "1970-01-01", tz = "UTC")
}

decode_records <- function(bytes, dtype, count) {
  if (length(bytes) != dtype$size * count) stop("the data does not have the length of type and shape")
  rows <- matrix(bytes, dtype$size)
  columns <- lapply(seq_along(dtype$fields), function(i) {
    field <- dtype$fields[[i]]
    ends <- c(sort(vapply(dtype$fields, function(one) as.numeric(one[[3]]), 0)), dtype$size)
    digits <- as.numeric(sub("^[<>|=]?[a-zA-Z](\\d+).*$", "\\1", field[[2]]))
    if (is.na(digits)) stop("a field of the type ", field[[2]])
    width <- digits * if (grepl("^[<>|=]?U", field[[2]])) 4 else 1
    decode_elements(as.vector(rows[field[[3]] + seq_len(width), ]), field[[2]], count)
  })
  names(columns) <- vapply(dtype$fields, function(field) field[[1]], "")
  as_frame(columns)
}

as_frame <- function(columns, rows = NULL) {
  count <- if (length(columns)) length(columns[[1]]) else length(rows)
  if (any(lengths(columns) != count)) stop("columns of different lengths")
  structure(columns, class = "data.frame", row.names = if (is.null(rows)) .set_row_names(count) else rows)
}

decode_column <- function(column, again, buffers) {
  absent <- function() if (is.null(column$missing)) integer() else which(again(column$missing))
  if (!is.null(column$items)) return(as_column(lapply(column$items, again)))
  if (!is.null(column$codes)) {
    levels <- decode_column(column$categories, again, buffers)
    codes <- as.integer(again(column$codes)) + 1L
    if (any(codes < 0L | codes > length(levels))) stop("a code without a category")
    codes[codes == 0L] <- NA
    return(structure(codes, levels = as.character(levels), class = c(if (isTRUE(column$ordered)) "ordered", "factor")))
  }
  if (!is.null(column$text)) {
    bytes <- buffer_of(column$text, buffers)
    offsets <- as.numeric(again(column$offsets))
    if (is.unsorted(offsets) || offsets[1] < 0 || offsets[length(offsets)] > length(bytes)) stop("offsets out of order")
    texts <- vapply(seq_len(length(offsets) - 1), function(i) {
      rawToChar(bytes[offsets[i] + seq_len(offsets[i + 1] - offsets[i])])
    }, "")
    Encoding(texts) <- "UTF-8"
    texts[absent()] <- NA
    return(texts)
  }
  values <- again(column$values)
  values[absent()] <- NA
  zone <- regmatches(column$type, regexec("^(?:datetime64|Datetime)\\W.*?([A-Za-z]+(?:/[A-Za-z_/+0-9-]+)?)'?[\\])]$", column$type, perl = TRUE))[[1]]
  if (inherits(values, "POSIXct") && length(zone) && zone[2] %in% OlsonNames()) attr(values, "tzone") <- zone[2]
  values
}

# Values of any kind: a vector if they are all of one, else a list.
as_column <- function(values) {
  found <- simplified(values)
  if (!is.list(found)) return(found)
  empty <- vapply(values, is.null, NA)
  for (type in c("Date", "POSIXct")) {
    if (!all(empty) && all(vapply(values[!empty], inherits, NA, type))) {
      zone <- attr(values[!empty][[1]], "tzone")
      values[empty] <- list(NA)
      return(structure(vapply(values, as.numeric, 0), class = if (type == "Date") type else c(type, "POSIXt"), tzone = zone))
    }
  }
  I(values)
}

index_columns <- function(index, again, buffers) {
  if (is.null(index$levels)) return(list())
  columns <- lapply(index$levels, decode_column, again = again, buffers = buffers)
  names <- vapply(seq_along(columns), function(i) {
    name <- if (length(index$names) >= i) index$names[[i]]
    if (is.null(name)) if (length(columns) == 1) "index" else paste0("level_", i - 1) else as.character(again(name))
  }, "")
  structure(columns, names = names)
}

decode_table <- function(value, again, buffers) {
  columns <- lapply(value$data, decode_column, again = again, buffers = buffers)
  names <- value$columns
  names <- if (is.null(names(names))) {
    vapply(names, function(name) as.character(again(name)), "")
  } else if (!is.null(names$range)) {
    as.character(seq(names$range[[1]], by = names$range[[3]], length.out = length(columns)))
  } else {
    do.call(paste, c(lapply(unname(index_columns(names, again, buffers)), as.character), sep = "."))
  }
  names(columns) <- names
  index <- index_columns(value$index, again, buffers)
  unnamed <- length(index) == 1 && is.null(unlist(value$index$names))
  if (unnamed && is.character(index[[1]]) && !anyNA(index[[1]]) && !anyDuplicated(index[[1]])) {
    return(as_frame(columns, index[[1]]))
  }
  if (!length(columns) && !length(index) && !is.null(value$index$range)) {
    range <- unlist(value$index$range)
    return(as_frame(list(), seq_len(max(0, ceiling((range[2] - range[1]) / range[3])))))
  }
  as_frame(c(index, columns))
}
