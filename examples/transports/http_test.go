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

	"github.com/platformbus/platform"
)

// maxBody is the limit of a request's or a reply's size.
const maxBody = 64 << 20

func TestJSONOverHTTP(t *testing.T) {
	battery(t, func(t *testing.T, p platform.Platform) platform.Platform {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var request Request
			if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&request); err != nil {
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
			if response.StatusCode != http.StatusOK {
				return reply, fmt.Errorf("status %s", response.Status)
			}
			return reply, json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(&reply)
		})
	})
}
