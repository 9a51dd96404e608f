# What made the numbers.  Run beside common.R: Rscript versions.R
source("common.R")
packages <- c("lme4", "Matrix", "minqa", "numDeriv", "mlmRev", "nlme")
writeLines(c(R.version.string, paste(packages, sapply(packages, function(p)
  as.character(packageVersion(p))))), "versions.txt")
