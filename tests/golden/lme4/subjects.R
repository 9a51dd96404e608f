# Two subjects jointly, with nlme (lme4 has no residual variances of its own per subject).
# Language and arithmetic of the Dutch data of nlme, one row per pupil and subject; every seventh
# pupil of the file has no arithmetic.  Run here: Rscript subjects.R
suppressPackageStartupMessages(library(nlme))
data(bdf, package = "nlme")
bdf <- as.data.frame(bdf)
pupil <- seq_len(nrow(bdf))
kept <- data.frame(school = as.character(bdf$schoolNR), pupil = pupil, iq = bdf$IQ.verb)
long <- rbind(
  cbind(kept, subject = "language", score = bdf$langPOST, prior = bdf$langPRET),
  cbind(kept, subject = "arithmetic", score = bdf$aritPOST, prior = bdf$aritPRET)
)
long <- long[!(long$subject == "arithmetic" & long$pupil %% 7 == 0), ]
long$subject <- factor(long$subject, levels = c("arithmetic", "language"))
long$at <- as.integer(long$subject)
long <- long[order(long$school, long$pupil, long$at), ]
formula <- score ~ 0 + subject + subject:prior + subject:iq

# nlme's own search stops some 1e-6 away; its convergence criteria cannot be made much tighter
control <- lmeControl(maxIter = 500, msMaxIter = 2000, niterEM = 100, msMaxEval = 5000,
                      tolerance = 1e-13, msTol = 1e-14, opt = "nlminb", returnObject = TRUE)
number <- function(x) trimws(formatC(x, digits = 17, format = "g"))
rows <- function(model, group, term, quantity, value) {
  data.frame(model = model, group = group, term = term, quantity = quantity,
             value = number(value), row.names = NULL)
}

golden <- function(model, method, linked) {
  fit <- lme(formula, data = long, random = ~ 0 + subject | school, method = method,
             weights = varIdent(form = ~ 1 | subject),
             correlation = if (linked) corSymm(form = ~ at | school/pupil) else NULL,
             control = control)
  effect <- as.matrix(getVarCov(fit))
  ratio <- coef(fit$modelStruct$varStruct, unconstrained = FALSE, allCoef = TRUE)
  spread <- fit$sigma * ratio[levels(long$subject)]
  rows_of <- list(
    rows(model, "", "", if (method == "REML") "criterion" else "deviance",
         -2 * as.numeric(logLik(fit))),
    rows(model, "", "", "n_rows", nrow(long)),
    rows(model, "", names(fixef(fit)), "estimate", fixef(fit)),
    rows(model, "", names(fixef(fit)), "std_error", sqrt(diag(vcov(fit)))),
    rows(model, "school", levels(long$subject), "std_dev", sqrt(diag(effect))),
    rows(model, "school", "language", "correlation", cov2cor(effect)[2, 1]),
    rows(model, "residual", names(spread), "std_dev", spread)
  )
  if (linked) {
    tie <- coef(fit$modelStruct$corStruct, unconstrained = FALSE)
    rows_of <- c(rows_of, list(rows(model, "residual", "language", "correlation", tie)))
  }
  modes <- ranef(fit)
  keep <- c("1", "2", "47", "103", "258")
  for (subject in levels(long$subject)) {
    rows_of <- c(rows_of, list(
      rows(model, "school", paste0(keep, "|", subject), "effect",
           modes[keep, paste0("subject", subject)])))
  }
  do.call(rbind, rows_of)
}

write.csv(rbind(golden("apart", "REML", FALSE), golden("linked", "REML", TRUE),
                golden("linked_ml", "ML", TRUE)),
          "subjects.csv", row.names = FALSE, quote = TRUE, eol = "\n")
