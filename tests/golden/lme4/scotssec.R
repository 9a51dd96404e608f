# Scottish secondary schools crossed with primary schools.  Run beside common.R: Rscript scotssec.R
source("common.R")
data(ScotsSec, package = "mlmRev")

save_golden("scotssec.csv",
  golden("sex", tight(attain ~ sex + (1 | primary) + (1 | second), ScotsSec), effects = "all"),
  # as the vignette fitted it: the default search, which stops earlier
  golden("sex_default", lmer(attain ~ sex + (1 | primary) + (1 | second), ScotsSec)),
  golden("sex_ml", tight(attain ~ sex + (1 | primary) + (1 | second), ScotsSec, REML = FALSE)),
  golden("verbal", tight(attain ~ verbal + sex + (1 | primary) + (1 | second), ScotsSec))
)
