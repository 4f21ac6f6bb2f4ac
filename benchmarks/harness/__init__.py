"""One harness for every model and every data set: frozen protocols, intervals, floors. Not here: metrics, training."""
