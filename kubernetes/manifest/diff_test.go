package manifest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// It is tested from inside: no object has the texts that these are about.

func TestUnified(t *testing.T) {
	numbers := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	for _, c := range []struct{ name, a, b, want string }{
		{"nothing", "", "", ""},
		{"equal", "a\nb\n", "a\nb\n", ""},
		{"all new", "", "a\nb\n", "@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"all gone", "a\n", "", "@@ -1 +0,0 @@\n-a\n"},
		{"one line", "a\nb\nc\n", "a\nx\nc\n", "@@ -1,3 +1,3 @@\n a\n-b\n+x\n c\n"},
		{"the fewest", "a\nb\nc\na\nb\nb\na\n", "c\nb\na\nb\na\nc\n", "@@ -1,7 +1,6 @@\n-a\n-b\n c\n+b\n a\n b\n-b\n a\n+c\n"},
		{
			"two hunks", numbers(1, 20), strings.NewReplacer("\n5\n", "\n", "\n14\n", "\nx\n").Replace(numbers(1, 20)),
			"@@ -2,7 +2,6 @@\n 2\n 3\n 4\n-5\n 6\n 7\n 8\n@@ -11,7 +10,7 @@\n 11\n 12\n 13\n-14\n+x\n 15\n 16\n 17\n",
		},
		{
			"hunks that touch", numbers(1, 14), strings.NewReplacer("\n4\n", "\n", "\n11\n", "\nx\n").Replace(numbers(1, 14)),
			"@@ -1,14 +1,13 @@\n 1\n 2\n 3\n-4\n 5\n 6\n 7\n 8\n 9\n 10\n-11\n+x\n 12\n 13\n 14\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := unified("a", "b", c.a, c.b)
			assert.Equal(t, c.want, strings.TrimPrefix(got, "--- a\n+++ b\n"))
		})
	}
}

// Edits take one text to the other, whatever these are.
func TestCompareLines(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(n, kinds int) []string {
		list := make([]string, r.IntN(n))
		for i := range list {
			list[i] = fmt.Sprint(r.IntN(kinds))
		}
		return list
	}
	for i := range 2000 {
		a, b := random(30, 4), random(30, 4)
		if i%200 == 0 { // more edits than are sought
			a, b = random(3000, 1000), random(3000, 1000)
		}
		var before, after []string
		for _, e := range compareLines(a, b) {
			if e.op != '+' {
				before = append(before, e.line)
			}
			if e.op != '-' {
				after = append(after, e.line)
			}
		}
		require.Equal(t, strings.Join(a, " "), strings.Join(before, " "))
		require.Equal(t, strings.Join(b, " "), strings.Join(after, " "))
	}
}
