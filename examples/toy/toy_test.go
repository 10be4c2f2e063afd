package toy_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
	"github.com/platformbus/platform/examples/toy"
	"github.com/platformbus/platform/flux"
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

// holding returns a toy that holds what is defined.
func holding(t *testing.T, definitions string) toy.Platform {
	t.Helper()
	p := toy.New("shop")
	require.NoError(t, p.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "all", Apply: []byte(definitions)}}}))
	return p
}

func TestToyRefusesMalformedDefinitions(t *testing.T) {
	for _, bad := range []string{
		"}", "]", `{"kind":"thing","name":"a"}]`, `{"kind":"thing"`, `{"kind":"thing"}`, `{"kind":"thing","name":"a/b"}`,
	} {
		err := toy.New("shop").Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "bad", Apply: []byte(bad)}}})
		assert.ErrorContains(t, err, "bad: parse: ", "%s", bad)
	}
}

// The order is defined also where names contain what divides the parts of a key.
func TestToyExportsInADefinedOrder(t *testing.T) {
	p := holding(t, `{"kind":"thing","namespace":"a b","name":"c"} {"kind":"thing","namespace":"a","name":"b c"}`)
	want, err := p.Export()
	require.NoError(t, err)
	for range 100 {
		got, err := p.Export()
		require.NoError(t, err)
		require.Equal(t, string(want), string(got))
	}
}

func TestToyFindsAServiceByItsIDOnly(t *testing.T) {
	p := holding(t, `{"kind":"service","name":"web"}`)
	services, err := p.SomeServices([]flux.ServiceID{"web", "/web"})
	require.NoError(t, err)
	require.Len(t, services, 1)
	assert.Equal(t, flux.ServiceID("/web"), services[0].ID)
}

func TestToyReportsEachFailureOfAService(t *testing.T) {
	p := holding(t, `{"kind":"service","namespace":"shop","name":"web"} {"kind":"controller","namespace":"shop","name":"web"}`)
	err := p.Apply([]platform.ServiceDefinition{
		{ServiceID: "shop/web", NewDefinition: []byte("}")},
		{ServiceID: "shop/web", NewDefinition: []byte(`{"kind":"thing","name":"a"}`)},
		{ServiceID: "shop/missing", NewDefinition: []byte("}")},
	})
	var failed platform.ApplyError
	require.ErrorAs(t, err, &failed)
	assert.ErrorContains(t, failed["shop/web"], "parse: ")
	assert.ErrorIs(t, failed["shop/web"], platform.ErrWrongResourceKind)
	assert.ErrorIs(t, failed["shop/missing"], platform.ErrNoMatchingService, "whatever its definition")
}
