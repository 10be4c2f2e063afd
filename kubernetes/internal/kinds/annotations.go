package kinds

import "strings"

// What users write on objects to say how they want them dealt with.
const (
	// RecreateAnnotation, "true" in a definition, lets Sync delete the object and make it
	// again where a change is to a field that cannot be changed.
	RecreateAnnotation = "platform/recreate"
	// IgnoreAnnotation lists on a live object, separated by commas, what is not to be done to it:
	// "sync" leaves it alone, "prune" never deletes it.
	IgnoreAnnotation = "platform/ignore"
)

// Ignores says whether the value of IgnoreAnnotation lists what.
func Ignores(list, what string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(item) == what {
			return true
		}
	}
	return false
}
