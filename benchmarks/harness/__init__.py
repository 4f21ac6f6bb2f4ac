"""One harness for every model and every task: what is asked, who answers, how it resumes. Not here: formulas, pages."""
