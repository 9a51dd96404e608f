# Dutch language data of nlme.  Run beside common.R: Rscript bdf.R
source("common.R")
data(bdf, package = "nlme")
bdf <- as.data.frame(bdf)
bdf$iqvc <- bdf$IQ.verb - mean(bdf$IQ.verb)
bdf$sesc <- bdf$schoolSES - mean(bdf$schoolSES)

save_golden("bdf.csv",
  golden("null_ml", tight(langPOST ~ 1 + (1 | schoolNR), bdf, REML = FALSE)),
  golden("slope_ml", tight(langPOST ~ iqvc * sesc + (iqvc | schoolNR), bdf, REML = FALSE)),
  golden("slope", tight(langPOST ~ iqvc * sesc + (iqvc | schoolNR), bdf)),
  golden("slope_diagonal", tight(langPOST ~ iqvc * sesc + (iqvc || schoolNR), bdf))
)
