package kinds

// A defaulted field is one that the server sets where a definition leaves it out.
type defaulted struct {
	// beside is a field that tells what the struct is, where its name alone does not.
	beside string
	value  any // nil stands for any value
}

// defaults has fields that the server sets, by name. There is no one place that Kubernetes'
// packages would tell it from.
var defaults = map[string][]defaulted{
	// Within lists that are replaced as a whole.
	"apiVersion":        {{"fieldPath", "v1"}, {"spec", "v1"}},                            // a reference to a field of the pod; a claim template
	"kind":              {{"spec", "PersistentVolumeClaim"}},                              // a claim template
	"status":            {{"spec", map[string]any{"phase": "Pending"}}, {"type", "True"}}, // a claim template; a condition of a pod
	"divisor":           {{"resource", "0"}},                                              // a reference to a resource of the pod
	"scope":             {{"operations", "*"}},                                            // a rule of a webhook
	"expirationSeconds": {{"path", int64(3600)}},                                          // a token in a projected volume
	"apiGroup":          {{"kind", "rbac.authorization.k8s.io"}},                          // who has a role, and the role
	"volumeMode":        {{"accessModes", "Filesystem"}},
	"namespaceSelector": matchesAll, // what an admission policy is for
	"objectSelector":    matchesAll,
	"protocol":          {{"port", "TCP"}, {"", "TCP"}},

	// Anywhere.
	"allocateLoadBalancerNodePorts":        {{"", true}},
	"backoffLimit":                         {{"", int64(6)}},
	"clusterIP":                            {{}},
	"clusterIPs":                           {{}},
	"completionMode":                       {{"", "NonIndexed"}},
	"completions":                          {{"", int64(1)}},
	"concurrencyPolicy":                    {{"", "Allow"}},
	"conversion":                           {{"", map[string]any{"strategy": "None"}}},
	"defaultMode":                          {{"", int64(420)}},
	"dnsPolicy":                            {{"", "ClusterFirst"}},
	"externalTrafficPolicy":                {{"", "Cluster"}},
	"failedJobsHistoryLimit":               {{"", int64(1)}},
	"failureThreshold":                     {{"", int64(3)}},
	"imagePullPolicy":                      {{}, {"", "Always"}, {"", "IfNotPresent"}},
	"internalTrafficPolicy":                {{"", "Cluster"}},
	"ipFamilies":                           {{}},
	"ipFamilyPolicy":                       {{}},
	"manualSelector":                       {{"", false}},
	"matchPolicy":                          {{"", "Equivalent"}, {"resourceRules", "Equivalent"}, {"namespaceSelector", "Equivalent"}, {"objectSelector", "Equivalent"}},
	"nodePort":                             {{}},
	"parallelism":                          {{"", int64(1)}},
	"path":                                 {{"", "/"}}, // of a probe
	"periodSeconds":                        {{"", int64(10)}},
	"persistentVolumeClaimRetentionPolicy": {{"", map[string]any{"whenDeleted": "Retain", "whenScaled": "Retain"}}},
	"podManagementPolicy":                  {{"", "OrderedReady"}},
	"podReplacementPolicy":                 {{}},
	"progressDeadlineSeconds":              {{"", int64(600)}},
	"reinvocationPolicy":                   {{"", "Never"}},
	"replicas":                             {{"", int64(1)}},
	"resources":                            {{"", map[string]any{}}},
	"restartPolicy":                        {{}},
	"revisionHistoryLimit":                 {{"", int64(10)}},
	"schedulerName":                        {{"", "default-scheduler"}},
	"scheme":                               {{"", "HTTP"}},
	"securityContext":                      {{"", map[string]any{}}},
	"serviceAccount":                       {{}},
	"sessionAffinity":                      {{"", "None"}},
	"strategy":                             {{}},
	"successThreshold":                     {{"", int64(1)}},
	"successfulJobsHistoryLimit":           {{"", int64(3)}},
	"suspend":                              {{"", false}},
	"targetPort":                           {{}},
	"terminationGracePeriodSeconds":        {{"", int64(30)}},
	"terminationMessagePath":               {{"", "/dev/termination-log"}},
	"terminationMessagePolicy":             {{"", "File"}},
	"timeoutSeconds":                       {{}, {"", int64(1)}},
	"type":                                 {{}, {"", "Opaque"}, {"", "ClusterIP"}, {"", "RollingUpdate"}},
	"updateStrategy":                       {{}},
	"volumeName":                           {{}},
}

// matchesAll is the default of a selector beside the other fields of what an admission policy is
// for.
var matchesAll = []defaulted{{"resourceRules", map[string]any{}}, {"namespaceSelector", map[string]any{}}, {"objectSelector", map[string]any{}}, {"excludeResourceRules", map[string]any{}}}

// IsDefault says whether the value is certainly the one that the server gives to a field of that
// name, if it is left out or empty, whatever struct it is in.
func IsDefault(name string, value any) bool {
	for _, d := range defaults[name] {
		if d.beside == "" && d.value != nil && Equal(d.value, value) {
			return true
		}
	}
	return false
}

// IsFilledIn says whether the server makes of an empty value of the field, which it takes for none,
// the one that a live object has.
func (f Field) IsFilledIn(name string, defined, live any) bool {
	return IsDefault(name, live) && f.MayLack(defined) // which looks at all that is below
}

// IsDefaultWithin says whether the value is certainly the one that the server gives to a
// field which is left out of what is defined, for those that are common within what is
// replaced as a whole.
func IsDefaultWithin(defined map[string]any, name string, value any) bool {
	for _, d := range defaults[name] {
		if _, ok := defined[d.beside]; ok && d.beside != "" && Equal(d.value, value) {
			return true
		}
	}
	return false
}

// LooksDefault says whether the value of a field of that name looks like one that the server
// gave it.
func LooksDefault(name string, value any) bool {
	for _, d := range defaults[name] {
		if d.value == nil || Equal(d.value, value) {
			return true
		}
	}
	return false
}
