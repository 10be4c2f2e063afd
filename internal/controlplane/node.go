package controlplane

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/platformbus/platform/internal/controlplane/programs"
)

// MissingTag is the tag of images that cannot be pulled: a container of an image
// such as "example.org/web:does-not-exist" waits with reason ImagePullBackOff,
// and its pod does not become ready. Every other image can be pulled.
const MissingTag = "does-not-exist"

// The one node, and addresses from the ranges that are reserved for documentation
// and benchmarks, so that requests to them reach no host.
const (
	nodeName     = "node-0"
	nodeAddress  = "192.0.2.1"
	podAddresses = "198.18.0.0/15"
)

//go:embed stages.yaml
var stages string

// writeStages writes kwok's configuration of the stages of nodes and pods.
func (cp *ControlPlane) writeStages() (string, error) {
	path := filepath.Join(cp.dir, "stages.yaml")
	text := strings.ReplaceAll(stages, "@MISSING_TAG@", MissingTag)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write kwok's stages: %w", err)
	}
	return path, nil
}

// fakeNode returns a node with capacity for more pods than a test creates.
func fakeNode() *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        nodeName,
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
			Labels: map[string]string{
				corev1.LabelHostname:   nodeName,
				corev1.LabelOSStable:   "linux",
				corev1.LabelArchStable: "amd64",
			},
		},
		Status: corev1.NodeStatus{
			Capacity: corev1.ResourceList{
				corev1.ResourceCPU:              resource.MustParse("10000"),
				corev1.ResourceMemory:           resource.MustParse("100Ti"),
				corev1.ResourceEphemeralStorage: resource.MustParse("100Ti"),
				corev1.ResourcePods:             resource.MustParse("100000"),
			},
			NodeInfo: corev1.NodeSystemInfo{OperatingSystem: "linux", Architecture: "amd64", KubeletVersion: programs.KubernetesVersion},
		},
	}
}
