# Profile-likelihood intervals of lme4 for Exam: standard deviations and correlations, ML.
# Run as: Rscript profile.R > profile.csv   (versions in versions.txt)
suppressPackageStartupMessages({library(lme4); library(mlmRev)})
options(digits = 12)
control <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-10, maxfun = 1e5))
models <- list(
  intercept = normexam ~ standLRT + (1 | school),
  slope = normexam ~ standLRT + (standLRT | school)
)
cat("model,parameter,level,conf_low,conf_high\n")
for (name in names(models)) {
  fit <- lmer(models[[name]], Exam, REML = FALSE, control = control)
  traced <- profile(fit, which = "theta_", signames = FALSE, devtol = 1e-9, delta = 0.1,
                    optimizer = "bobyqa", control = list(rhoend = 1e-10))
  for (level in c(0.9, 0.95)) {
    limits <- confint(traced, level = level)
    for (k in rownames(limits))
      cat(sprintf("%s,%s,%.2f,%.10f,%.10f\n", name, gsub(",", " ", k), level,
                  limits[k, 1], limits[k, 2]))
  }
}
