package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"
)

// guard lets through who has the token. Without a token it is for programs on this machine:
// it keeps out web pages, which a browser on this machine would let ask for anything, be it
// from another origin or under another name for our address.
func guard(token string, next http.Handler) http.Handler {
	wanted := sha256.Sum256([]byte(token))
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if token == "" {
			if !isLocalName(r.Host) {
				answer(w, http.StatusForbidden, problemOf(errors.New("the request is for another host than localhost")))
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		given, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		is := sha256.Sum256([]byte(given)) // of equal length, so that the comparison takes equal time
		if subtle.ConstantTimeCompare(wanted[:], is[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			answer(w, http.StatusUnauthorized, problemOf(errors.New("the request has no Authorization header with the right bearer token")))
			return
		}
		next.ServeHTTP(w, r)
	}))
}

func isLocalName(host string) bool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "80")
	}
	return isLoopback(host)
}

// maxRequests is how many requests may be under way, each with its body in memory.
const maxRequests = 64

// bounded refuses requests beyond maxRequests, at once.
func bounded(next http.Handler) http.Handler {
	places := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusServiceUnavailable, problemOf(errors.New("too many requests are under way; try again")))
		}
	})
}
