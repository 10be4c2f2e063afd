package toy_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/toy"
)

func TestToyKeepsTheContract(t *testing.T) {
	platform.PlatformContractBattery(t, func(t *testing.T) platform.Fixture {
		define := func(o toy.Object) platform.ResourceDef {
			o.Namespace = "shop"
			data, err := json.Marshal(o)
			require.NoError(t, err)
			return data
		}
		return platform.Fixture{
			Platform:  toy.New("shop", "other"),
			Namespace: "shop",
			Object: func(name, value string) platform.ResourceDef {
				return define(toy.Object{Kind: "object", Name: name, Value: value})
			},
			Service: func(name, image string) (service, controller platform.ResourceDef) {
				return define(toy.Object{Kind: "service", Name: name}), define(toy.Object{Kind: "controller", Name: name, Image: image})
			},
			Invalid: platform.ResourceDef("{}"),
		}
	})
}
