package api

// ModelSummary counts models.
type ModelSummary struct {
	Total   int                `json:"total"`
	States  Counts[ModelState] `json:"states"`  // every state, also with none
	Engines Counts[string]     `json:"engines"` // models whose engine is not known yet are in none
	Labels  List[LabelSummary] `json:"labels"`  // of the most models first
	// MoreLabels is how many keys of labels are left out.
	MoreLabels int `json:"more_labels,omitempty"`
}

// LabelSummary counts the models that have a label, whatever its value.
type LabelSummary struct {
	Key    string                `json:"key"`
	Models int                   `json:"models"`
	Values List[LabelValueCount] `json:"values"` // of the most models first
	// MoreValues is how many values are left out.
	MoreValues int `json:"more_values,omitempty"`
}

// LabelValueCount counts the models with one value of a label.
type LabelValueCount struct {
	Value  string `json:"value"`
	Models int    `json:"models"`
}
