library(testthat)
library(berrymq)

test_check("berrymq")
