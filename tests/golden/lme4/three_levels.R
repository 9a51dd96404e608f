# Three levels: years in children in schools (egsingle), pupils in schools in authorities (Chem97).
# Run beside common.R: Rscript three_levels.R
source("common.R")
data(egsingle, Chem97, package = "mlmRev")
egsingle$child <- interaction(egsingle$schoolid, egsingle$childid, drop = TRUE)
Chem97$centred <- Chem97$gcsescore - mean(Chem97$gcsescore)

save_golden("three_levels.csv",
  golden("egsingle_null_ml",
         tight(math ~ 1 + (1 | schoolid) + (1 | child), egsingle, REML = FALSE)),
  golden("egsingle_intercepts", tight(math ~ year + (1 | schoolid) + (1 | child), egsingle)),
  golden("egsingle_slopes_ml",
         tight(math ~ year + (year | schoolid) + (year | child), egsingle, REML = FALSE),
         effects = c("schoolid:2020", "schoolid:4450")),
  golden("egsingle_slopes", tight(math ~ year + (year | schoolid) + (year | child), egsingle)),
  golden("chem97_null_ml",
         tight(score ~ 1 + (1 | lea) + (1 | school), Chem97, REML = FALSE)),
  golden("chem97_gcse",
         tight(score ~ centred + gender + (1 | lea) + (centred | school), Chem97),
         effects = paste0("lea:", c(1, 50, 131)))
)
