# Tennessee's class-size experiment: pupils' repeated scores crossed with schools.
# Run beside common.R: Rscript star.R
source("common.R")
data(star, package = "mlmRev")

save_golden("star.csv",
  # grade and class type are ordered factors in R: polynomial contrasts for the grade
  golden("ordered", tight(math ~ gr + sx + eth + cltype + (1 | id) + (1 | sch), star),
         effects = paste0("sch:", 1:80)),
  golden("treatment", tight(math ~ gr + sx + eth + cltype + (1 | id) + (1 | sch),
                            transform(star, gr = factor(gr, ordered = FALSE),
                                      cltype = factor(cltype, ordered = FALSE))))
)
for (name in c("gr", "sx", "eth", "cltype")) {
  cat(name, if (is.ordered(star[[name]])) "ordered" else "unordered", levels(star[[name]]), "\n")
}
