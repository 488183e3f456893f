package inventory

import (
	"context"
	"maps"
	"slices"
	"time"
)

const (
	askEvery    = 10 * time.Second       // names change
	askAgain    = time.Second            // while a container is not known yet
	newFor      = 30 * time.Second       // how long that may take
	askPatience = 500 * time.Millisecond // with one that does not answer
	askPause    = time.Minute            // after that
)

// container is what a runtime says of one.
type container struct {
	id, name string
	// networkOf is the id of the container whose network this one uses; empty if it has its own.
	networkOf string
}

// source is a place where containers have names.
type source interface {
	// containers returns all there are, if there is such a runtime.
	containers(context.Context) ([]container, error)
}

// runtimes knows the names of containers. It is not for concurrent use.
type runtimes struct {
	sources []source
	pause   map[source]time.Time   // of one that did not answer in time, until then
	known   map[string]container   // by id
	guests  map[string][]Container // by id of the owner, those that use its network
	missing map[string]time.Time   // ids that no source knows, since
	asked   time.Time
}

func newRuntimes(root string) runtimes {
	r := runtimes{pause: make(map[source]time.Time), missing: make(map[string]time.Time)}
	for _, socket := range criSockets {
		r.sources = append(r.sources, newCRI(root+socket))
	}
	for _, socket := range engineSockets {
		r.sources = append(r.sources, newEngine(root+socket))
	}
	lists := &storage{}
	for _, dir := range storageDirs {
		lists.dirs = append(lists.dirs, root+dir)
	}
	r.sources = append(r.sources, lists, &users{root})
	return r
}

// refresh asks the sources for the names of these containers if it is time to, or if one of them is new. It reports
// whether they said something new.
func (r *runtimes) refresh(ctx context.Context, ids map[string]bool) bool {
	now := time.Now()
	due := len(ids) > 0 && now.Sub(r.asked) >= askEvery
	for id := range r.missing {
		if !ids[id] {
			delete(r.missing, id)
		}
	}
	for id := range ids {
		if _, known := r.known[id]; known {
			continue
		}
		since, asked := r.missing[id]
		if !asked {
			r.missing[id], due = now, true
		} else if now.Sub(since) < newFor && now.Sub(r.asked) >= askAgain {
			due = true
		}
	}
	if !due {
		return false
	}
	old := r.known
	r.ask(ctx)
	return !maps.Equal(old, r.known)
}

// waiting reports whether a container is so new that its runtime may not have told its name yet.
func (r *runtimes) waiting() bool {
	for _, since := range r.missing {
		if time.Since(since) < newFor {
			return true
		}
	}
	return false
}

// stale reports whether there are containers whose names were not asked for lately.
func (r *runtimes) stale() bool {
	return len(r.known)+len(r.missing) > 0 && time.Since(r.asked) >= askEvery || r.waiting()
}

// ask asks all sources. What the first one says of a container counts: a pod's name before the one that Docker gives it.
func (r *runtimes) ask(ctx context.Context) {
	known := make(map[string]container)
	for _, s := range r.sources {
		if time.Now().Before(r.pause[s]) {
			continue
		}
		all, err := func() ([]container, error) {
			ctx, cancel := context.WithTimeout(ctx, askPatience)
			defer cancel()
			all, err := s.containers(ctx)
			if ctx.Err() != nil {
				r.pause[s] = time.Now().Add(askPause)
			}
			return all, err
		}()
		if err != nil {
			continue // there is none, or we may not ask: the id has to do
		}
		for _, c := range all {
			if _, ok := known[c.id]; !ok {
				known[c.id] = c
			}
		}
	}
	r.known, r.asked = known, time.Now()
	r.guests = make(map[string][]Container)
	for id, c := range known {
		if owner := r.ownerOf(id); owner != id {
			r.guests[owner] = append(r.guests[owner], Container{ID: id, Name: c.name})
		}
	}
	for id := range r.missing {
		if _, ok := known[id]; ok {
			delete(r.missing, id)
		}
	}
}

// container returns the container that the network of this one belongs to, and the others that use it.
func (r *runtimes) container(id string) (owner Container, guests []Container) {
	id = r.ownerOf(id)
	return r.named(id), slices.Clone(r.guests[id])
}

func (r *runtimes) named(id string) Container { return Container{ID: id, Name: r.known[id].name} }

func (r *runtimes) ownerOf(id string) string {
	const most = 3 // the network of one that uses another's, and no circles
	for range most {
		owner, ok := r.known[r.known[id].networkOf]
		if !ok {
			break
		}
		id = owner.id
	}
	return id
}
