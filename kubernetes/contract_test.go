package kubernetes_test

import (
	"testing"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/kubernetes"
)

func TestClusterKeepsTheContract(t *testing.T) {
	platform.PlatformContractBattery(t, func(t *testing.T) platform.Fixture {
		w := newEnv(t, kubernetes.Options{})
		return platform.Fixture{
			Platform:  w.as(t, w.cp.Config(), kubernetes.Options{Namespace: w.namespace, Namespaces: []string{w.namespace}, Version: "1.0.0"}),
			Namespace: w.namespace,
			Object: func(name, value string) platform.ResourceDef {
				return platform.ResourceDef(configMap(name, value))
			},
			Service: func(name, image string) (svc, controller platform.ResourceDef) {
				return platform.ResourceDef(service(name, name)), platform.ResourceDef(deployment(name, image))
			},
			Invalid: platform.ResourceDef("kind: ["),
		}
	})
}
