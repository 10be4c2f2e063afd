package platform_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform"
)

// A definition is opaque: bytes that are not text survive a round trip.
func TestSyncDefKeepsAnyBytesInJSON(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	def := platform.SyncDef{Actions: []platform.SyncAction{
		{ResourceID: "a", Apply: all},
		{ResourceID: "a", Delete: bytes.Repeat([]byte{0}, 3)},
		{ResourceID: ""},
	}}
	data, err := json.Marshal(def)
	require.NoError(t, err)
	var back platform.SyncDef
	require.NoError(t, json.Unmarshal(data, &back))
	assert.Equal(t, def, back)
}
