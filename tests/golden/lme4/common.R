# Shared by the scripts beside it: fit as tightly as double precision allows, print every digit.
#
# Default lme4 stops at a relative change of 1e-8 of the deviance or so, which leaves a few units of
# the fifth digit in a standard deviation.  Here: bobyqa with a final trust region of 1e-12 from two
# starts, then Newton steps with Richardson's derivatives of the deviance function, and the fit is
# built at the best point found.

suppressPackageStartupMessages(library(lme4))

polish <- function(deviance, theta, lower) {
  # Newton in the entries off their bound; a step is kept only if the deviance does not rise
  for (k in 1:5) {
    free <- !(lower == 0 & theta < 1e-6)
    if (!any(free)) break
    along <- function(x) { full <- theta; full[free] <- x; deviance(full) }
    # wide steps: the deviance itself is rounded to some 1e-9, Richardson takes off the curvature
    wide <- list(d = 0.05, zero.tol = 0.01, eps = 0.01)
    g <- numDeriv::grad(along, theta[free], method.args = wide)
    H <- numDeriv::hessian(along, theta[free], method.args = wide)
    step <- tryCatch(solve(H, g), error = function(e) NULL)
    if (is.null(step)) break
    trial <- theta
    trial[free] <- theta[free] - step
    trial <- pmax(trial, lower)
    if (deviance(trial) > deviance(theta) + 1e-12 * abs(deviance(theta))) break
    theta <- trial
  }
  theta
}

tight <- function(formula, data, REML = TRUE, weights = NULL, newton = TRUE) {
  data$.weights <- if (is.null(weights)) rep(1, nrow(data)) else weights
  parsed <- lFormula(formula, data = data, REML = REML, weights = .weights,
                     control = lmerControl(check.nobs.vs.nRE = "ignore",
                                           check.nobs.vs.nlev = "ignore"))
  deviance <- do.call(mkLmerDevfun, parsed)
  lower <- environment(deviance)$lower
  control <- list(rhobeg = 0.2, rhoend = 1e-12, maxfun = 100000)
  start <- parsed$reTrms$theta
  best <- NULL
  for (from in list(start, 0.3 * start)) {
    found <- minqa::bobyqa(from, deviance, lower = lower, control = control)
    found <- minqa::bobyqa(found$par, deviance, lower = lower,
                           control = modifyList(control, list(rhobeg = 0.01)))
    if (is.null(best) || found$fval < best$fval) best <- found
  }
  theta <- if (newton) polish(deviance, best$par, lower) else best$par
  opt <- list(par = theta, fval = deviance(theta), conv = 0, message = "tight")
  mkMerMod(environment(deviance), opt, parsed$reTrms, fr = parsed$fr)
}

number <- function(x) trimws(formatC(x, digits = 17, format = "g"))

rows <- function(model, group, term, quantity, value) {
  data.frame(model = model, group = group, term = term, quantity = quantity,
             value = number(value), row.names = NULL)
}

golden <- function(model, fit, effects = character(0)) {
  # One row per number; `effects` names the units whose modes are kept, as "group:label"
  beta <- fixef(fit)
  out <- list(
    rows(model, "", "", if (isREML(fit)) "criterion" else "deviance",
         if (isREML(fit)) REMLcrit(fit) else deviance(fit)),
    rows(model, "", "", "n_rows", nobs(fit)),
    rows(model, "", names(beta), "estimate", beta),
    rows(model, "", names(beta), "std_error", sqrt(diag(as.matrix(vcov(fit))))),
    rows(model, "residual", "", "std_dev", sigma(fit)),
    rows(model, "", "", "singular", as.numeric(isSingular(fit, tol = 1e-4)))
  )
  for (group in names(VarCorr(fit))) {
    block <- VarCorr(fit)[[group]]
    name <- sub("\\.[0-9]+$", "", group)
    out <- c(out, list(rows(model, name, colnames(block), "std_dev", attr(block, "stddev"))))
    r <- attr(block, "correlation")
    if (nrow(r) > 1) out <- c(out, list(
      rows(model, name, rownames(r)[-1], "correlation", r[-1, 1])))
  }
  if (length(effects)) {
    modes <- ranef(fit, condVar = TRUE)
    for (group in names(modes)) {
      labels <- rownames(modes[[group]])
      keep <- if (identical(effects, "all")) seq_along(labels) else
        which(paste0(group, ":", labels) %in% effects)
      if (!length(keep)) next
      variance <- attr(modes[[group]], "postVar")
      if (is.list(variance)) next
      for (k in seq_along(colnames(modes[[group]]))) {
        term <- paste0(labels[keep], "|", colnames(modes[[group]])[k])
        out <- c(out, list(
          rows(model, group, term, "effect", modes[[group]][keep, k]),
          rows(model, group, term, "conditional_sd", sqrt(variance[k, k, keep]))))
      }
    }
  }
  do.call(rbind, out)
}

save_golden <- function(file, ...) {
  write.csv(do.call(rbind, list(...)), file, row.names = FALSE, quote = TRUE, eol = "\n")
}
