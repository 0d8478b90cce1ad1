"""ResNets: what one is in numbers and words, the graph that follows from it, and which networks have its layout."""
