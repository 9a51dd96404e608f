# London data of mlmRev.  Run beside common.R: Rscript exam.R
source("common.R")
data(Exam, package = "mlmRev")
Exam$mixed_first <- factor(Exam$schgend, levels = c("mixed", "boys", "girls"))
Exam$boys_first <- factor(Exam$sex, levels = c("M", "F"))
# precision weights that a reader can make again: 0.5, 1, 1.5, 2 in the order of the file
Exam$precision <- 0.5 * (1 + (seq_len(nrow(Exam)) - 1) %% 4)

save_golden("exam.csv",
  golden("null_ml", tight(normexam ~ 1 + (1 | school), Exam, REML = FALSE)),
  golden("intercept_ml", tight(normexam ~ standLRT + (1 | school), Exam, REML = FALSE),
         effects = "all"),
  golden("schgend", tight(normexam ~ standLRT + sex + mixed_first + (1 | school), Exam)),
  golden("type", tight(normexam ~ standLRT + boys_first + type + (1 | school), Exam)),
  golden("type_ml",
         tight(normexam ~ standLRT + boys_first + type + (1 | school), Exam, REML = FALSE)),
  golden("slope", tight(normexam ~ standLRT + boys_first + type + (standLRT | school), Exam),
         effects = c("school:53", "school:54", "school:48")),
  golden("slope_ml", tight(normexam ~ standLRT + boys_first + type + (standLRT | school), Exam,
                           REML = FALSE)),
  golden("slope_diagonal",
         tight(normexam ~ standLRT + boys_first + type + (standLRT || school), Exam)),
  # singular: the optimum is a factor of rank 2, where no Newton step exists
  golden("sex_slope",
         tight(normexam ~ standLRT + boys_first + type + (standLRT + boys_first | school), Exam,
               newton = FALSE)),
  golden("weighted", tight(normexam ~ standLRT + (1 | school), Exam, weights = Exam$precision)),
  golden("weighted_slope_ml", tight(normexam ~ standLRT + (standLRT | school), Exam,
                                    weights = Exam$precision, REML = FALSE))
)
