package transports

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/platformbus/platform"
)

// maxBody is the limit of a request's or a reply's size.
const maxBody = 64 << 20

func TestJSONOverHTTP(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform { return overHTTP(t, p, maxBody) })
}

// overHTTP returns a client of a server at which p is served.
func overHTTP(t *testing.T, p platform.Platform, limit int64) platform.Platform {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, limit)).Decode(&request); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		json.NewEncoder(w).Encode(serve(p, request)) //nolint:errcheck // it fails if the client has gone
	}))
	t.Cleanup(server.Close)
	return newClient(func(ctx context.Context, r Request) (reply Reply, err error) {
		body, err := json.Marshal(r)
		if err != nil {
			return reply, err
		}
		post, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, bytes.NewReader(body))
		if err != nil {
			return reply, err
		}
		post.GetBody = nil // so that a write is never sent again
		response, err := server.Client().Do(post)
		if err != nil {
			return reply, err
		}
		defer response.Body.Close()
		answer := http.MaxBytesReader(nil, response.Body, limit)
		if response.StatusCode != http.StatusOK {
			reason, _ := io.ReadAll(io.LimitReader(answer, 1<<10))
			return reply, fmt.Errorf("status %s: %s", response.Status, bytes.TrimSpace(reason))
		}
		if err := json.NewDecoder(answer).Decode(&reply); err != nil {
			return Reply{}, fmt.Errorf("reply: %w", err)
		}
		return reply, nil
	})
}

func TestHTTPSaysWhatIsTooLarge(t *testing.T) {
	large := bytes.Repeat([]byte("x"), 2<<10)
	p := overHTTP(t, &platform.MockPlatform{ExportAnswer: large}, 1<<10)
	_, err := p.Export()
	assert.ErrorContains(t, err, "reply: http: request body too large")
	err = p.Sync(platform.SyncDef{Actions: []platform.SyncAction{{ResourceID: "a", Apply: large}}})
	assert.ErrorContains(t, err, "400 Bad Request: http: request body too large")
}
