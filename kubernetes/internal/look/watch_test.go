package look

import (
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// The events of a write, and of what others do right after it, may be heard before the answer to
// the write is read. What others did is news all the same.
func TestWroteKeepsLaterNews(t *testing.T) {
	type event struct {
		what    watch.EventType
		version string
	}
	for _, c := range []struct {
		name   string
		before heard
		events []event
		want   heard // but for its news
		news   string
	}{
		{"nothing was heard", heard{known: true}, nil, heard{known: true, present: true}, ""},
		{"the write", heard{known: true}, []event{{watch.Added, "5"}}, heard{known: true, present: true}, ""},
		{"a later write", heard{known: true, present: true}, []event{{watch.Modified, "5"}, {watch.Modified, "6"}}, heard{known: true, present: true}, "6"},
		{"a later deletion", heard{known: true}, []event{{watch.Added, "5"}, {watch.Deleted, "6"}}, heard{known: true}, "6"},
		{"an earlier deletion", heard{known: true, present: true}, []event{{watch.Deleted, "4"}, {watch.Added, "5"}}, heard{known: true, present: true}, ""},
		{"what is not known", heard{}, nil, heard{}, ""},
	} {
		o := c.before
		w := &watched{objects: map[name]*heard{{"a", "b"}: &o}}
		for _, e := range c.events {
			w.hear(e.what, &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", ResourceVersion: e.version}})
		}
		w.wrote(name{"a", "b"}, "5")
		news := ""
		if o.news != nil {
			news = o.news.ResourceVersion
		}
		o.news = nil
		assert.Equal(t, c.want, o, c.name)
		assert.Equal(t, c.news, news, c.name)
	}
}
