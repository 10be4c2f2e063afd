package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/platformbus/platform/kubernetes/internal/redact"
)

// lost returns the paths of what the object has and the definition does not set, without
// what looks like a default: candidates for what a changed definition used to set. Which
// of them it did only the cluster knows.
func (m merge) lost(want, have any, at trail, path string) []string {
	switch h := have.(type) {
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok {
			return nil
		}
		var paths []string
		for _, name := range slices.Sorted(maps.Keys(h)) {
			below := path + "." + name
			if strings.ContainsAny(name, "./ ") || name == "" {
				below = fmt.Sprintf("%s[%q]", path, name)
			}
			if _, ok := w[name]; ok {
				paths = append(paths, m.lost(w[name], h[name], at.to(name), below)...)
			} else if !isDefault(at.to(name), h[name]) {
				paths = append(paths, strings.TrimPrefix(below, "."))
			}
		}
		return paths
	case []any:
		w, ok := want.([]any)
		names := m.mergeKeys(at)
		if !ok || names == nil {
			return nil
		}
		places, ok := index(w, names)
		if !ok {
			return nil
		}
		var paths []string
		for _, item := range h {
			id, ok := identify(item, names)
			if !ok {
				continue
			}
			below := fmt.Sprintf("%s[%s]", path, redact.Name(id))
			if i, ok := places[id]; ok {
				paths = append(paths, m.lost(w[i], item, at, below)...)
			} else {
				paths = append(paths, strings.TrimPrefix(below, "."))
			}
		}
		return paths
	}
	return nil
}

// defaults has the values that the API server gives to fields which a definition leaves
// out, as text; "*" stands for any.
var defaults = map[string]string{
	"allocateLoadBalancerNodePorts":        "true",
	"completionMode":                       "NonIndexed",
	"concurrencyPolicy":                    "Allow",
	"conversion":                           "map[strategy:None]",
	"defaultMode":                          "420",
	"dnsPolicy":                            "ClusterFirst",
	"externalTrafficPolicy":                "Cluster",
	"failedJobsHistoryLimit":               "1",
	"failureThreshold":                     "3",
	"imagePullPolicy":                      "*",
	"internalTrafficPolicy":                "Cluster",
	"ipFamilies":                           "*",
	"ipFamilyPolicy":                       "*",
	"matchPolicy":                          "Equivalent",
	"parallelism":                          "1",
	"completions":                          "1",
	"backoffLimit":                         "6",
	"suspend":                              "false",
	"manualSelector":                       "false",
	"podReplacementPolicy":                 "*",
	"periodSeconds":                        "10",
	"persistentVolumeClaimRetentionPolicy": "map[whenDeleted:Retain whenScaled:Retain]",
	"podManagementPolicy":                  "OrderedReady",
	"progressDeadlineSeconds":              "600",
	"protocol":                             "TCP",
	"reinvocationPolicy":                   "Never",
	"replicas":                             "1",
	"restartPolicy":                        "*",
	"revisionHistoryLimit":                 "10",
	"schedulerName":                        "default-scheduler",
	"scheme":                               "HTTP",
	"securityContext":                      "map[]",
	"resources":                            "map[]",
	"serviceAccount":                       "*",
	"sessionAffinity":                      "None",
	"strategy":                             "*",
	"successThreshold":                     "1",
	"successfulJobsHistoryLimit":           "3",
	"targetPort":                           "*",
	"terminationGracePeriodSeconds":        "30",
	"terminationMessagePath":               "/dev/termination-log",
	"terminationMessagePolicy":             "File",
	"timeoutSeconds":                       "*",
	"type":                                 "*",
	"updateStrategy":                       "*",
	"volumeMode":                           "Filesystem",
	"clusterIP":                            "*",
	"clusterIPs":                           "*",
	"nodePort":                             "*",
	"volumeName":                           "*",
}

// isDefault says whether the value of a field of that name looks like one that the API
// server gave it.
func isDefault(at trail, value any) bool {
	if at[0] == "metadata" {
		return len(at) > 1 && at[1] != "labels" && at[1] != "annotations"
	}
	if isEmpty(value) && len(at) == 1 {
		return true
	}
	if at.last(1) == "data" || at.last(1) == "binaryData" || at.last(1) == "labels" || at.last(1) == "annotations" {
		return false
	}
	if at.last(0) == "apiVersion" {
		return at.last(1) == "fieldRef"
	}
	usual, ok := defaults[at.last(0)]
	return ok && (usual == "*" || usual == scalar(value))
}
