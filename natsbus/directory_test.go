package natsbus

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/platformbus/platform/flux"
	"github.com/platformbus/platform/natsbus/internal/wire"
)

// A directory does what a map does, with IDs of every form.
func TestDirectory(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	forms := []string{"instance-", "Ünit ", "", strings.Repeat("x", wire.MaxToken)}
	d, m := newDirectory(), map[string]*registration{}
	require.Nil(t, d.get("instance-1"))
	for range 50_000 {
		s := &registration{inst: flux.InstanceID(fmt.Sprint(forms[random.IntN(len(forms))], random.IntN(500)))}
		tok := s.token()
		require.Same(t, m[tok], d.get(tok))
		switch {
		case m[tok] == nil:
			d.add(s)
			m[tok] = s
		case random.IntN(3) > 0:
			d.remove(tok)
			delete(m, tok)
		}
		d.remove("not there")
		require.Equal(t, len(m), d.n)
	}
	all := d.all()
	require.Len(t, all, len(m))
	for _, s := range all {
		require.Same(t, m[s.token()], s)
	}
}
