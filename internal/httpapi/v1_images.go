package httpapi

import (
	"net/http"
	"strings"

	"github.com/nebula-serve/nebula/api"
	"github.com/nebula-serve/nebula/internal/auth"
)

// v1ImageRoutes are version 1's rows about container images. Nothing in Nebula runs them: they are kept, shown and changed.
func (s *server) v1ImageRoutes() []Route {
	const images, image, successor = "/api/images", "/api/images/{id}", "/api/v2/nodes"
	return []Route{
		{Method: "GET", Path: images, Role: auth.Viewer, Summary: "List the images of engines that are kept for an existing Nebula", Response: []api.EngineImage{}, Has: Pages, Successor: successor, Handle: s.v1Images},
		{Method: "GET", Path: "/api/admin/images", Role: auth.Viewer, Summary: "The same as /api/images", Response: []api.EngineImage{}, Has: Pages, Successor: successor, Handle: s.v1Images},
		{Method: "GET", Path: images + "/status", Role: auth.Viewer, Summary: "How the images stand on the nodes of an existing Nebula", Response: []api.NodeImageStatus{}, Has: Pages, Successor: successor, Handle: s.v1ImageStatus},
		{Method: "GET", Path: image, Role: auth.Viewer, Summary: "One image", Response: api.EngineImage{}, Successor: successor, Handle: s.v1Image},
		{Method: "PUT", Path: image, Role: auth.Operator, Summary: "Keep an image, in place of the one that has its id", Request: api.V1PutImage{}, Response: api.EngineImage{}, Successor: successor, Handle: s.v1PutImage},
		{Method: "DELETE", Path: image, Role: auth.Operator, Summary: "Forget an image, and how it stands on each node", Response: api.V1ImageDeleted{}, Successor: successor, Handle: s.v1DeleteImage},
	}
}

func (s *server) v1Images(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	out := make([]api.EngineImage, 0, st.Images.Len())
	for _, e := range st.Images.Refs() {
		out = append(out, e.Value)
	}
	return writePage(w, r, out, func(i *api.EngineImage) string { return i.ID })
}

func (s *server) v1ImageStatus(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	out := make([]api.NodeImageStatus, 0, st.ImageStatus.Len())
	for _, e := range st.ImageStatus.Refs() {
		out = append(out, e.Value)
	}
	return writePage(w, r, out, func(i *api.NodeImageStatus) string { return i.Key() })
}

func (s *server) v1Image(w http.ResponseWriter, r *http.Request) error {
	st, _ := s.View.Current()
	image, ok := st.Images.Value(r.PathValue("id"))
	if !ok {
		return api.Errorf(api.CodeNotFound, "there is no image with that id; list them with GET /api/images")
	}
	writeJSON(w, http.StatusOK, image)
	return nil
}

func (s *server) v1PutImage(w http.ResponseWriter, r *http.Request) error {
	var req api.V1PutImage
	if err := decode(r, &req, false); err != nil {
		return err
	}
	if req.ID == "" {
		return api.Errorf(api.CodeInvalidRequest, "the body is not valid: id is missing; the one in the path counts")
	}
	image := api.EngineImage{
		ID: r.PathValue("id"), EngineType: req.EngineType, Image: req.Image, Platforms: req.Platforms, Description: valueOf(req.Description),
		VersionPolicy: api.VersionPolicy(strings.ToLower(string(req.VersionPolicy))), PrePull: req.PrePull == nil || *req.PrePull,
	}
	if image.VersionPolicy == "" {
		image.VersionPolicy = api.PolicyPin
	}
	if req.CreatedAtMS != nil {
		image.CreatedAtMS = *req.CreatedAtMS
	}
	image, err := s.Control.PutImage(r.Context(), image)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, image)
	return nil
}

func (s *server) v1DeleteImage(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if err := s.Control.DeleteImage(r.Context(), id); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.V1ImageDeleted{ID: id, Status: "deleted"})
	return nil
}
