package natsbus

import "hash/maphash"

// A directory has seats by token. A map would have the tokens too, which are in the seats,
// and take four times the memory.
//
// It is a hash table with linear probing: a seat is where its hash says, or behind that,
// with nothing free in between.
type directory struct {
	seed  maphash.Seed
	slots []*seat // a power of two of them; nil where it is free
	marks []byte  // of each slot: a part of the hash, so that few seats have to be looked at
	n     int     // how many seats there are
}

func newDirectory() directory {
	return directory{seed: maphash.MakeSeed(), slots: make([]*seat, 16), marks: make([]byte, 16)}
}

// get returns the seat that has the token, or nil.
func (d *directory) get(tok string) *seat {
	i, _ := d.find(tok)
	return d.slots[i]
}

// find returns the slot in which the seat that has the token is, or would be, and its mark.
func (d *directory) find(tok string) (slot int, mark byte) {
	hash := maphash.String(d.seed, tok)
	slot, mark = int(hash)&(len(d.slots)-1), byte(hash>>56)
	for d.slots[slot] != nil && (d.marks[slot] != mark || d.slots[slot].tok() != tok) {
		slot = d.behind(slot)
	}
	return slot, mark
}

func (d *directory) behind(slot int) int { return (slot + 1) & (len(d.slots) - 1) }

// add adds a seat whose token no other has.
func (d *directory) add(s *seat) {
	if d.n >= len(d.slots)/16*13 {
		slots := d.slots
		d.slots, d.marks = make([]*seat, 2*len(slots)), make([]byte, 2*len(slots))
		for _, s := range slots {
			if s != nil {
				d.put(s)
			}
		}
	}
	d.put(s)
	d.n++
}

func (d *directory) put(s *seat) {
	i, mark := d.find(s.tok())
	d.slots[i], d.marks[i] = s, mark
}

// remove removes the seat that has the token, if there is one.
func (d *directory) remove(tok string) {
	i, _ := d.find(tok)
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

// all returns the seats, in no order.
func (d *directory) all() []*seat {
	all := make([]*seat, 0, d.n)
	for _, s := range d.slots {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}
