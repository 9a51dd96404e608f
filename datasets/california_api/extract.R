# Print apipop of the R package survey as CSV on standard output.
# Called by extract.py; R 4.2.2 and survey 4.1-1 (Debian package r-cran-survey 4.1-1-1) made the file.
suppressMessages(library(survey))
data(api)
cat("# survey", as.character(packageVersion("survey")), "\n", file = stderr())
write.csv(apipop, stdout(), row.names = FALSE, na = "", fileEncoding = "UTF-8")
