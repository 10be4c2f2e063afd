package service

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"strings"
)

// guard passes requests that have the token. Without a token the service is for programs on
// this machine: guard then refuses requests of web pages, which a browser on this machine
// would send from another origin or under another name for the service's address.
func guard(token string, next http.Handler) http.Handler {
	wanted := sha256.Sum256([]byte(token))
	allowed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token == "" {
			if !isLocalName(r.Host) {
				refuse(w, http.StatusForbidden, "the request is for another host than localhost")
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		given, ok := bearer(r.Header)
		sum := sha256.Sum256([]byte(given)) // of equal length, so that the comparison takes equal time
		if subtle.ConstantTimeCompare(wanted[:], sum[:]) != 1 || !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "the request has no Authorization header with the right bearer token")
			return
		}
		next.ServeHTTP(w, r)
	})
	// The protection passes GET, since pages may link to others, but no page links to this
	// service. It also checks Origin, which older browsers send with unsafe methods.
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(refusePage))
	sameOrigin := protection.Handler(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, site := range r.Header.Values("Sec-Fetch-Site") {
			if site != "same-origin" && site != "none" {
				refusePage(w, r)
				return
			}
		}
		sameOrigin.ServeHTTP(w, r)
	})
}

func refusePage(w http.ResponseWriter, _ *http.Request) {
	refuse(w, http.StatusForbidden, "the request comes from a web page of another site")
}

// bearer returns the token of the only Authorization header. The name of a scheme is
// case-insensitive, and one or more spaces follow it (RFC 9110, section 11.4).
func bearer(h http.Header) (token string, ok bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return strings.TrimLeft(token, " "), ok && strings.EqualFold(scheme, "Bearer")
}

func isLocalName(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "80")
	}
	return isLoopback(host)
}
