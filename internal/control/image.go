package control

import (
	"context"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/store"
)

// maxImages bounds how many images are kept.
const maxImages = 1000

// PutImage keeps an image for the nodes and clients of an existing Nebula, in place of the one of its id.
func (c *Control) PutImage(ctx context.Context, image api.EngineImage) (api.EngineImage, error) {
	if err := image.Validate(); err != nil {
		return image, err
	}
	err := c.update(ctx, "image.put", "image/"+image.ID, func(tx *store.Tx) error {
		if _, stored, err := store.Images.Get(tx, image.ID); err != nil {
			return err
		} else if !stored && tx.State().Images.Len() >= maxImages {
			return api.Errorf(api.CodeConflict, "there are %d images, and no more are kept: delete some first", maxImages)
		}
		image.UpdatedAtMS = c.now().UnixMilli()
		if image.CreatedAtMS <= 0 {
			image.CreatedAtMS = image.UpdatedAtMS
		}
		return store.Images.Put(tx, image.ID, image)
	})
	return image, err
}

// DeleteImage forgets an image, and how it stands on each node. No error when there is none.
func (c *Control) DeleteImage(ctx context.Context, id string) error {
	if !api.ValidNodeID(id) {
		return nil // nothing can be stored under it
	}
	return c.update(ctx, "image.delete", "image/"+id, func(tx *store.Tx) error {
		if tx.State().Images.Has(id) {
			if err := store.Images.Delete(tx, id); err != nil {
				return err
			}
		}
		for _, e := range tx.State().ImageStatus.Refs() {
			if e.Value.ImageID != id {
				continue
			}
			if err := store.ImageStatus.Delete(tx, e.ID); err != nil {
				return err
			}
		}
		return nil
	})
}
