package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestReportProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b strings.Builder
		stop := reportProgress(&b, "[1/6] etcd", time.Now())
		time.Sleep(150 * time.Second)
		stop()
		assert.Equal(t, "[1/6] etcd: still building, after 1m0s\n[1/6] etcd: still building, after 2m0s\n", b.String())
	})
}
