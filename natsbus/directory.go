package natsbus

import "hash/maphash"

// A directory has registrations by token. A map would have the tokens too, which are in the registrations,
// and take four times the memory.
//
// It is a hash table with linear probing: a registration is where its hash says, or behind that,
// with nothing free in between.
type directory struct {
	seed  maphash.Seed
	slots []*registration // a power of two of them; nil where it is free
	marks []byte          // of each slot: a part of the hash, so that few registrations have to be looked at
	n     int             // how many registrations there are
}

func newDirectory() directory {
	return directory{seed: maphash.MakeSeed(), slots: make([]*registration, 16), marks: make([]byte, 16)}
}

// get returns the registration that has the token, or nil.
func (d *directory) get(token string) *registration {
	i, _ := d.find(token)
	return d.slots[i]
}

// find returns the slot in which the registration that has the token is, or would be, and its mark.
func (d *directory) find(token string) (slot int, mark byte) {
	hash := maphash.String(d.seed, token)
	slot, mark = int(hash)&(len(d.slots)-1), byte(hash>>56)
	for d.slots[slot] != nil && (d.marks[slot] != mark || d.slots[slot].token() != token) {
		slot = d.behind(slot)
	}
	return slot, mark
}

func (d *directory) behind(slot int) int { return (slot + 1) & (len(d.slots) - 1) }

// add adds a registration whose token no other has.
func (d *directory) add(s *registration) {
	if d.n >= len(d.slots)/16*13 {
		slots := d.slots
		d.slots, d.marks = make([]*registration, 2*len(slots)), make([]byte, 2*len(slots))
		for _, s := range slots {
			if s != nil {
				d.put(s)
			}
		}
	}
	d.put(s)
	d.n++
}

func (d *directory) put(s *registration) {
	i, mark := d.find(s.token())
	d.slots[i], d.marks[i] = s, mark
}

// remove removes the registration that has the token, if there is one.
func (d *directory) remove(token string) {
	i, _ := d.find(token)
	if d.slots[i] == nil {
		return
	}
	d.slots[i] = nil
	d.n--
	for i = d.behind(i); d.slots[i] != nil; i = d.behind(i) { // who could be closer now
		s := d.slots[i]
		d.slots[i] = nil
		d.put(s)
	}
}

// all returns the registrations, in no order.
func (d *directory) all() []*registration {
	all := make([]*registration, 0, d.n)
	for _, s := range d.slots {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}
