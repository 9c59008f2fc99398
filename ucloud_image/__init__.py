"""ucloud_image: turns uploaded files into images that VMs can be made from.

Watches the requests for images; one instance is elected. Writes each image's status, removes the request of one that
is deleted, with what it was charged, and puts templates into the store.

Uploads are hostile until shown otherwise. It must never open an upload with QEMU's tools in place (it may change under
them), nor anywhere but in the sandbox; never follow a link out of an owner's folder; never let a template carry
anything that the uploader wrote but the disk's contents; never replace or remove a template that a disk rests on; and
never name a path of the server to the owner.
"""
